//go:build e2e

package scenarios

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"isthmus.dev/isthmus/test/scenarios/call"
)

// betweenTwo is how long a request in the background waits for the one before it to be over.
const betweenTwo = 20 * time.Millisecond

// background are requests that are made without a pause while steps go on.
type background struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	calls  []*backgroundCall
}

// backgroundCall is one of them, made again and again.
type backgroundCall struct {
	Call
	agent *agent
	req   call.Request
	made  int
	wrong []wrongAnswer
}

type wrongAnswer struct {
	at, until time.Time // when it was asked, and answered
	request   int
	err       error
}

// begin makes the requests until end is called, each beside the others. Every answer has to be as wanted.
func (r *runner) begin(ctx context.Context, calls []Call) (*background, error) {
	b := &background{}
	for i, c := range calls {
		if err := r.request(ctx, c, i == 0); err != nil { // from a state in which it is right
			return nil, fmt.Errorf("request %d, %s: %w", i+1, c.Request, err)
		}
		req, where, err := r.prepare(ctx, c)
		if err != nil {
			return nil, err
		}
		a, err := r.agent(ctx, fmt.Sprintf("%s#background-%d", where, i))
		if err != nil {
			return nil, err
		}
		b.calls = append(b.calls, &backgroundCall{Call: c, agent: a, req: req})
	}
	ctx, b.cancel = context.WithCancel(ctx)
	for _, c := range b.calls {
		b.done.Go(func() { c.run(ctx) })
	}
	return b, nil
}

func (c *backgroundCall) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		res, err := c.agent.do(c.req)
		if err == nil {
			err = c.Want.judge(res.Answers)
		}
		c.made++
		if err != nil && ctx.Err() == nil {
			c.wrong = append(c.wrong, wrongAnswer{began, time.Now(), c.made, err})
		}
		time.Sleep(betweenTwo)
	}
}

func (b *background) end(log func(string, ...any)) error {
	b.cancel()
	b.done.Wait()
	var errs []error
	for _, c := range b.calls {
		if c.made < 5 {
			errs = append(errs, fmt.Errorf("%s: only %d requests were made in the background", c.Request, c.made))
		}
		errs = append(errs, c.judge(log))
	}
	return errors.Join(errs...)
}

// judge says whether there were wrong answers that must not be.
func (c *backgroundCall) judge(log func(string, ...any)) error {
	if len(c.wrong) == 0 {
		return nil
	}
	lasted := c.wrong[len(c.wrong)-1].until.Sub(c.wrong[0].at)
	log("%s from %q: %d of %d requests in the background were not answered as wanted, within %.1f s, of %v", c.Request, c.From, len(c.wrong), c.made, lasted.Seconds(), c.Outage)
	if c.Outage > 0 && lasted <= c.Outage {
		return nil
	}
	var some []error
	for _, w := range c.wrong[:min(len(c.wrong), 3)] {
		some = append(some, fmt.Errorf("%s, request %d: %w", w.at.Format("15:04:05.000"), w.request, w.err))
	}
	return fmt.Errorf("%s: %d of %d requests in the background were not answered as wanted, in %.1f s, such as: %w", c.Request, len(c.wrong), c.made, lasted.Seconds(), errors.Join(some...))
}
