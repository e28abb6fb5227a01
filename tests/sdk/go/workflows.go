package main

import (
	"errors"
	"fmt"
	"math/rand"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Complaints that a workflow keeps; the first ones tell most.
const complaintsMax = 10

// State is what a workflow of everything hands to its next run.
type State struct {
	Name  string
	Round int
	// The round in which each signal's number, each update's id came first.
	Signals map[int]int
	Updates map[string]int
	// Requests that came again in a later run: their first answer was lost with a leader, and a
	// run remembers only its own requests, as in Temporal.
	Repeated int
	Finish   bool
	Wrong    []string
}

func (s *State) complain(format string, args ...any) {
	if len(s.Wrong) < complaintsMax {
		s.Wrong = append(s.Wrong, fmt.Sprintf("round %d: ", s.Round)+fmt.Sprintf(format, args...))
	}
}

// see notes one signal or update.
func see[K comparable](s *State, seen map[K]int, key K) {
	round, again := seen[key]
	switch {
	case !again:
		seen[key] = s.Round
	case round == s.Round:
		s.complain("one run saw %v twice", key)
	default:
		s.Repeated++
	}
}

// Everything plays one round with all there is, and continues as new until it is told to finish.
func Everything(ctx workflow.Context, s State) (State, error) {
	s.Round++
	numbers := workflow.GetSignalChannel(ctx, "number")
	finish := workflow.GetSignalChannel(ctx, "finish")
	if err := handle(ctx, &s); err != nil {
		return s, err
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var number int
			numbers.Receive(ctx, &number)
			see(&s, s.Signals, number)
		}
	})
	wait := workflow.NewWaitGroup(ctx)
	for _, part := range []func(workflow.Context, *State){
		activities, cancelledActivity, timers, child, cancelledChild, closedChildren, message,
	} {
		wait.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer wait.Done()
			part(ctx, &s)
		})
	}
	wait.Wait(ctx)
	all := func() bool { return workflow.AllHandlersFinished(ctx) }
	if err := workflow.Await(ctx, all); err != nil {
		return s, err
	}
	for finish.ReceiveAsync(nil) {
		s.Finish = true
	}
	var number int
	for numbers.ReceiveAsync(&number) {
		see(&s, s.Signals, number)
	}
	if s.Finish {
		return s, nil
	}
	return s, workflow.NewContinueAsNewError(ctx, Everything, s)
}

// handle answers queries and updates.
func handle(ctx workflow.Context, s *State) error {
	state := func() (State, error) { return *s, nil }
	if err := workflow.SetQueryHandler(ctx, "state", state); err != nil {
		return err
	}
	double := func(ctx workflow.Context, id string, number int) (int, error) {
		see(s, s.Updates, id)
		if err := workflow.Sleep(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
		return 2 * number, nil
	}
	options := workflow.UpdateHandlerOptions{
		Validator: func(id string, number int) error {
			if number < 0 {
				return temporal.NewApplicationError("no negative numbers", "Negative")
			}
			return nil
		},
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, "double", double, options)
}

func withActivity(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 5 * time.Second,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 50 * time.Millisecond},
	})
}

// activities has one that is retried, with a number from a side effect, and a local one.
func activities(ctx workflow.Context, s *State) {
	var number, square, next int
	if workflow.GetVersion(ctx, "number", workflow.DefaultVersion, 1) != 1 {
		s.complain("a new run has no old version")
	}
	draw := func(workflow.Context) any { return rand.Intn(1000) }
	if err := workflow.SideEffect(ctx, draw).Get(&number); err != nil {
		s.complain("side effect: %v", err)
	}
	if err := workflow.ExecuteActivity(withActivity(ctx), Square, number).Get(ctx, &square); err != nil {
		s.complain("activity: %v", err)
	}
	local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 5 * time.Second,
	})
	if err := workflow.ExecuteLocalActivity(local, Next, number).Get(ctx, &next); err != nil {
		s.complain("local activity: %v", err)
	}
	if square != number*number || next != number+1 {
		s.complain("%d has the square %d and the next %d", number, square, next)
	}
}

// cancelledActivity beats until it is cancelled. One that was lost with a leader times out, one
// whose beat was lost fails; neither is tried again after the request to cancel.
func cancelledActivity(ctx workflow.Context, s *State) {
	inner, cancel := workflow.WithCancel(withActivity(ctx))
	inner = workflow.WithHeartbeatTimeout(inner, 5*time.Second)
	inner = workflow.WithStartToCloseTimeout(inner, time.Minute)
	beating := workflow.ExecuteActivity(inner, Beat)
	if err := workflow.Sleep(ctx, 200*time.Millisecond); err != nil {
		s.complain("sleep: %v", err)
	}
	cancel()
	err := beating.Get(ctx, nil)
	var failed *temporal.ApplicationError
	lost := temporal.IsTimeoutError(err) || errors.As(err, &failed) && failed.Type() == unheard
	if !temporal.IsCanceledError(err) && !lost {
		s.complain("a cancelled activity ended so: %v", err)
	}
}

// timers has a short one that fires and a long one that is cancelled then.
func timers(ctx workflow.Context, s *State) {
	inner, cancel := workflow.WithCancel(ctx)
	long := workflow.NewTimer(inner, time.Hour)
	first := ""
	workflow.NewSelector(ctx).
		AddFuture(workflow.NewTimer(ctx, 300*time.Millisecond), func(workflow.Future) { first = "short" }).
		AddFuture(long, func(workflow.Future) { first = "long" }).
		Select(ctx)
	cancel()
	if err := long.Get(ctx, nil); first != "short" || !temporal.IsCanceledError(err) {
		s.complain("timers: %s came first, the long one ended so: %v", first, err)
	}
}

func withChild(ctx workflow.Context, id string, policy enums.ParentClosePolicy) workflow.Context {
	return workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:          id,
		ParentClosePolicy:   policy,
		WaitForCancellation: true,
	})
}

// child has one that signals its parent and gives a result.
func child(ctx workflow.Context, s *State) {
	inner := withChild(ctx, childID(s.Name, "helper", s.Round), enums.PARENT_CLOSE_POLICY_TERMINATE)
	helping := workflow.ExecuteChildWorkflow(inner, Helper, s.Name, s.Round)
	helped := workflow.GetSignalChannel(ctx, "helped")
	var told, square int
	helped.Receive(ctx, &told)
	if err := helping.Get(ctx, &square); err != nil {
		s.complain("child: %v", err)
	}
	if told != s.Round || square != s.Round*s.Round {
		s.complain("a child told %d and gave %d", told, square)
	}
	if helped.ReceiveAsync(&told) {
		s.complain("a child's signal came twice: %d", told)
	}
}

func cancelledChild(ctx workflow.Context, s *State) {
	inner, cancel := workflow.WithCancel(ctx)
	inner = withChild(inner, childID(s.Name, "cancelled", s.Round), enums.PARENT_CLOSE_POLICY_TERMINATE)
	waiting := workflow.ExecuteChildWorkflow(inner, Waiter)
	if err := waiting.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
		s.complain("start of a child: %v", err)
	}
	cancel()
	if err := waiting.Get(ctx, nil); !temporal.IsCanceledError(err) {
		s.complain("a cancelled child ended so: %v", err)
	}
}

// closedChildren outlive this run, or end with it; the client looks at them in the end.
func closedChildren(ctx workflow.Context, s *State) {
	for _, policy := range []enums.ParentClosePolicy{
		enums.PARENT_CLOSE_POLICY_ABANDON, enums.PARENT_CLOSE_POLICY_TERMINATE,
	} {
		inner := withChild(ctx, childID(s.Name, policy.String(), s.Round), policy)
		waiting := workflow.ExecuteChildWorkflow(inner, Waiter)
		if err := waiting.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			s.complain("start of a child: %v", err)
		}
		if policy != enums.PARENT_CLOSE_POLICY_ABANDON {
			continue
		}
		if err := waiting.SignalChildWorkflow(ctx, "enough", nil).Get(ctx, nil); err != nil {
			s.complain("signal to a child: %v", err)
		}
	}
}

// message tells the ledger of this round.
func message(ctx workflow.Context, s *State) {
	entry := Entry{Name: s.Name, Round: s.Round}
	told := workflow.SignalExternalWorkflow(ctx, ledgerID, "", "entry", entry)
	if err := told.Get(ctx, nil); err != nil {
		s.complain("signal to the ledger: %v", err)
	}
}

// Helper signals its parent after an activity.
func Helper(ctx workflow.Context, parent string, number int) (int, error) {
	var square int
	if err := workflow.ExecuteActivity(withActivity(ctx), Square, number).Get(ctx, &square); err != nil {
		return 0, err
	}
	err := workflow.SignalExternalWorkflow(ctx, parent, "", "helped", number).Get(ctx, nil)
	return square, err
}

// Waiter waits until somebody has enough of it.
func Waiter(ctx workflow.Context) error {
	enough := workflow.GetSignalChannel(ctx, "enough")
	received := false
	selector := workflow.NewSelector(ctx).
		AddReceive(enough, func(channel workflow.ReceiveChannel, _ bool) {
			received = channel.ReceiveAsync(nil)
		}).
		AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	selector.Select(ctx)
	if received {
		return nil
	}
	return ctx.Err()
}

// Entry is what a workflow of everything tells the ledger.
type Entry struct {
	Name  string
	Round int
}

// Entries of one run of the ledger.
const entriesMax = 10

// Ledger counts entries until it is told to finish.
func Ledger(ctx workflow.Context, counts map[string]int) (map[string]int, error) {
	entries := workflow.GetSignalChannel(ctx, "entry")
	finish := workflow.GetSignalChannel(ctx, "finish")
	finished := false
	received := 0
	take := func(channel workflow.ReceiveChannel, _ bool) {
		var entry Entry
		for channel.ReceiveAsync(&entry) {
			counts[childID(entry.Name, "entry", entry.Round)]++
			received++
		}
	}
	selector := workflow.NewSelector(ctx).
		AddReceive(entries, take).
		AddReceive(finish, func(channel workflow.ReceiveChannel, _ bool) {
			finished = channel.ReceiveAsync(nil)
		})
	for !finished && received < entriesMax {
		selector.Select(ctx)
	}
	take(entries, true)
	if finished || finish.ReceiveAsync(nil) {
		return counts, nil
	}
	if len(counts) > 100_000 {
		return counts, errors.New("far more entries than rounds")
	}
	return counts, workflow.NewContinueAsNewError(ctx, Ledger, counts)
}
