package main

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

// The type of the error of an activity whose beats did not reach a leader.
const unheard = "Unheard"

// Square fails once.
func Square(ctx context.Context, number int) (int, error) {
	if activity.GetInfo(ctx).Attempt == 1 {
		return 0, errors.New("the first attempt fails")
	}
	return number * number, nil
}

// Next is a local activity.
func Next(_ context.Context, number int) (int, error) {
	return number + 1, nil
}

// Beat beats until it is cancelled.
func Beat(ctx context.Context) error {
	for beats := 0; ; beats++ {
		activity.RecordHeartbeat(ctx, beats)
		select {
		case <-ctx.Done():
			// The SDK also gives up an activity whose beat had no answer for a second.
			if !temporal.IsCanceledError(context.Cause(ctx)) {
				return temporal.NewApplicationError("a beat had no answer", unheard)
			}
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
