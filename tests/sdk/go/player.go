package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

const (
	// An SDK repeats a call for this long; a leader is lost for much less.
	callLimit = 20 * time.Second
	// Between the turns of a client.
	turnPause = 50 * time.Millisecond
)

// player drives one workflow of everything as its client.
type player struct {
	*program
	name string
	// Sent, and whether it was acknowledged.
	signals map[int]bool
	updates map[string]bool
}

func childID(name string, what string, number int) string {
	return fmt.Sprintf("%s-%s-%d", name, what, number)
}

// unavailable says that a call's outcome is not known; anything else is an answer.
func unavailable(err error) bool {
	var away *serviceerror.Unavailable
	var late *serviceerror.DeadlineExceeded
	var update *client.WorkflowUpdateServiceTimeoutOrCanceledError
	return errors.As(err, &away) || errors.As(err, &late) || errors.As(err, &update) ||
		errors.Is(err, context.DeadlineExceeded)
}

// acknowledged says that a call was; an error that is no lost call is wrong.
func (p *player) acknowledged(what string, err error) bool {
	switch {
	case err == nil:
		p.count(what, 1)
		return true
	case unavailable(err):
		p.count(what+" unknown", 1)
	default:
		p.complain("%s: %s: %v", p.name, what, err)
	}
	return false
}

// play drives the workflow until SIGTERM, then ends it; its last state.
func (p *player) play(playing context.Context) State {
	p.signals, p.updates = map[int]bool{}, map[string]bool{}
	state := State{Name: p.name, Signals: map[int]int{}, Updates: map[string]int{}}
	for {
		_, err := p.client.ExecuteWorkflow(context.Background(), p.options(p.name), Everything, state)
		if p.acknowledged("start", err) {
			break
		}
	}
	for turn := 1; playing.Err() == nil; turn++ {
		p.turn(turn)
		time.Sleep(turnPause)
	}
	return p.end()
}

func (p *player) turn(turn int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*callLimit)
	defer cancel()
	p.signal(ctx, turn)
	p.update(ctx, turn)
	if turn%3 == 0 {
		p.rejected(ctx, turn)
	}
	if turn%5 == 0 {
		p.cancelled(ctx, turn)
	}
	p.query(ctx)
}

func (p *player) signal(ctx context.Context, turn int) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := p.client.SignalWorkflow(ctx, p.name, "", "number", turn)
	p.signals[turn] = p.acknowledged("signal", err)
}

func (p *player) doubled(ctx context.Context, id string, number int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	handle, err := p.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID:   p.name,
		UpdateID:     id,
		UpdateName:   "double",
		Args:         []any{id, number},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return 0, err
	}
	var double int
	err = handle.Get(ctx, &double)
	return double, err
}

func (p *player) update(ctx context.Context, turn int) {
	id := fmt.Sprintf("update-%d", turn)
	double, err := p.doubled(ctx, id, turn)
	p.updates[id] = p.acknowledged("update", err)
	if err == nil && double != 2*turn {
		p.complain("%s: the double of %d is not %d", p.name, turn, double)
	}
}

func (p *player) rejected(ctx context.Context, turn int) {
	_, err := p.doubled(ctx, fmt.Sprintf("rejected-%d", turn), -1)
	var refused *temporal.ApplicationError
	if errors.As(err, &refused) && refused.Type() == "Negative" {
		err = nil
	} else if err == nil {
		err = errors.New("it was accepted")
	}
	p.acknowledged("rejected update", err)
}

// cancelled starts a workflow, cancels it, and waits for its end.
func (p *player) cancelled(ctx context.Context, turn int) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	id := childID(p.name, "waiter", turn)
	run, err := p.client.ExecuteWorkflow(ctx, p.options(id), Waiter)
	if err == nil {
		err = p.client.CancelWorkflow(ctx, id, run.GetRunID())
	}
	if err == nil {
		err = run.Get(ctx, nil)
		if temporal.IsCanceledError(err) && ctx.Err() == nil {
			err = nil
		} else if err == nil {
			err = errors.New("it completed")
		}
	}
	p.acknowledged("cancelled workflow", err)
}

// query must show all that was acknowledged.
func (p *player) query(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var state State
	value, err := p.client.QueryWorkflow(ctx, p.name, "", "state")
	if err == nil {
		err = value.Get(&state)
	}
	var early *serviceerror.WorkflowNotReady
	if errors.As(err, &early) {
		// A run that followed soon after its predecessor begins a little later.
		p.count("query too early", 1)
		return
	}
	if p.acknowledged("query", err) {
		p.compare("query", state)
	}
}

// compare finds acknowledged requests that a state lacks.
func (p *player) compare(where string, state State) {
	for number, acknowledged := range p.signals {
		if _, seen := state.Signals[number]; acknowledged && !seen {
			p.complain("%s: %s of round %d lacks signal %d", p.name, where, state.Round, number)
		}
	}
	for id, acknowledged := range p.updates {
		if _, seen := state.Updates[id]; acknowledged && !seen {
			p.complain("%s: %s of round %d lacks %s", p.name, where, state.Round, id)
		}
	}
}

// end tells the workflow to finish, and looks at what it and its children came to.
func (p *player) end() State {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	for {
		err := p.client.SignalWorkflow(ctx, p.name, "", "finish", nil)
		if p.acknowledged("finish", err) || ctx.Err() != nil {
			break
		}
	}
	var state State
	if err := p.client.GetWorkflow(ctx, p.name, "").Get(ctx, &state); err != nil {
		p.complain("%s does not end: %v", p.name, err)
		return state
	}
	p.compare("the end", state)
	for _, complaint := range state.Wrong {
		p.complain("%s: %s", p.name, complaint)
	}
	p.count("rounds", state.Round)
	p.count("repeated in a later run", state.Repeated)
	for round := 1; round <= state.Round; round++ {
		p.closedChild(ctx, enums.PARENT_CLOSE_POLICY_ABANDON, round)
		p.closedChild(ctx, enums.PARENT_CLOSE_POLICY_TERMINATE, round)
	}
	return state
}

// closedChild completed when it was abandoned, was terminated otherwise.
func (p *player) closedChild(ctx context.Context, policy enums.ParentClosePolicy, round int) {
	id := childID(p.name, policy.String(), round)
	err := p.client.GetWorkflow(ctx, id, "").Get(ctx, nil)
	var terminated *temporal.TerminatedError
	wanted := policy == enums.PARENT_CLOSE_POLICY_TERMINATE
	if errors.As(err, &terminated) != wanted || (err != nil && !wanted) {
		p.complain("%s ended so: %v", id, err)
	}
}

// checkLedger ends the ledger: it has one entry of each round.
func (p *program) checkLedger(results []State) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if err := p.client.SignalWorkflow(ctx, ledgerID, "", "finish", nil); err != nil {
		p.complain("finish of the ledger: %v", err)
	}
	var counts map[string]int
	if err := p.client.GetWorkflow(ctx, ledgerID, "").Get(ctx, &counts); err != nil {
		p.complain("the ledger does not end: %v", err)
		return
	}
	for _, result := range results {
		for round := 1; round <= result.Round; round++ {
			if times := counts[childID(result.Name, "entry", round)]; times != 1 {
				p.complain("the ledger has round %d of %s %d times", round, result.Name, times)
			}
		}
	}
}
