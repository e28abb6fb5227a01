// Everything the Go SDK has, at once, until SIGTERM: workflows that each play rounds with children,
// updates, signals, queries, timers, activities and cancellation, and continue as new after each.
// Clients send them numbered signals and updates, and note what was acknowledged. After SIGTERM
// each workflow must end within a minute, and everything must have happened exactly once.
//
// Environment: ADDRESS, TASK_QUEUE. Prints READY, then DONE with counts or WRONG with reasons.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
)

const (
	// Workflows of everything at once.
	players = 4
	// From SIGTERM to the end of all workflows.
	endLimit = time.Minute
	ledgerID = "ledger"
)

// program is what the players share.
type program struct {
	client client.Client
	queue  string
	lock   sync.Mutex
	wrong  []string
	counts map[string]int
}

func (p *program) count(what string, number int) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.counts[what] += number
}

func (p *program) complain(format string, args ...any) {
	p.lock.Lock()
	defer p.lock.Unlock()
	line := fmt.Sprintf(format, args...)
	p.wrong = append(p.wrong, line)
	fmt.Println("WRONG", line)
}

func main() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	connection, err := client.Dial(client.Options{
		HostPort: os.Getenv("ADDRESS"),
		Logger:   log.NewStructuredLogger(logger),
	})
	if err != nil {
		fmt.Println("WRONG dial:", err)
		os.Exit(1)
	}
	p := &program{client: connection, queue: os.Getenv("TASK_QUEUE"), counts: map[string]int{}}
	w := worker.New(connection, p.queue, worker.Options{
		MaxHeartbeatThrottleInterval: 200 * time.Millisecond,
	})
	for _, workflow := range []any{Everything, Helper, Waiter, Ledger} {
		w.RegisterWorkflow(workflow)
	}
	for _, activity := range []any{Square, Next, Beat} {
		w.RegisterActivity(activity)
	}
	if err := w.Start(); err != nil {
		fmt.Println("WRONG worker:", err)
		os.Exit(1)
	}
	p.play()
	if len(p.wrong) > 0 {
		os.Exit(1)
	}
	fmt.Println("DONE", p.counts)
}

func (p *program) play() {
	playing, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if _, err := p.client.ExecuteWorkflow(playing, p.options(ledgerID), Ledger, map[string]int{}); err != nil {
		p.complain("start of the ledger: %v", err)
		return
	}
	fmt.Println("READY")
	var ended sync.WaitGroup
	results := make([]State, players)
	for number := range players {
		player := &player{program: p, name: fmt.Sprintf("player-%d", number)}
		ended.Go(func() { results[number] = player.play(playing) })
	}
	ended.Wait()
	p.checkLedger(results)
	for _, kind := range []string{"signal", "update", "rejected update", "cancelled workflow", "query"} {
		if p.counts[kind] == 0 {
			p.complain("no %s was acknowledged", kind)
		}
	}
}

func (p *program) options(id string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: id, TaskQueue: p.queue}
}
