package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// measureNamespace holds the keys that a measurement writes; afterwards it is empty.
const measureNamespace = "lmqgate.measure"

// measurement holds the options of a measurement.
type measurement struct {
	keys, size, writers int
	within              time.Duration
}

func newMetaMeasureCommand(app *app) *cobra.Command {
	var conf configFlags
	var m measurement
	cmd := &cobra.Command{
		Use:   "measure --config FILE",
		Short: "Measure how fast a metadata backend is",
		Long: "Writes keys to the configuration's metadata backend, in a namespace of their own, lists them and removes them again, and says\n" +
			"how long that took. It loads the backend: do not run it beside gateways that matter.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if m.keys < 1 || m.size < 1 || m.writers < 1 || m.within < time.Second {
				return usagef("--keys, --size and --writers want 1 or more, --time-limit at least 1s")
			}
			c, err := conf.load()
			if err != nil {
				return err
			}
			b, err := openMeta(cmd.Context(), c, c.Meta.Plugin, c.Meta.Config)
			if err != nil {
				return err
			}
			defer b.close()
			return m.run(cmd.Context(), cmd.OutOrStdout(), b.client())
		},
	}
	conf.app = app
	conf.register(cmd)
	cmd.Flags().IntVar(&m.keys, "keys", 1000, "how many keys")
	cmd.Flags().IntVar(&m.size, "size", 400, "bytes of a value; a session with one subscription has about 300")
	cmd.Flags().IntVar(&m.writers, "writers", 16, "puts at a time")
	cmd.Flags().DurationVar(&m.within, "time-limit", 5*time.Minute, "how long each step may take")
	return cmd
}

// run writes, lists and removes keys, and prints a line for each step.
func (m *measurement) run(ctx context.Context, out io.Writer, client pluginv1.MetaClient) error {
	value := []byte(strings.Repeat("v", m.size))
	key := func(i int) string { return "k" + strconv.Itoa(i) }
	defer m.clear(context.WithoutCancel(ctx), client, key)

	put := func(ctx context.Context, i int) error {
		_, err := client.Put(ctx, &pluginv1.PutRequest{Namespace: measureNamespace, Key: key(i), Value: value})
		return err
	}
	if err := m.step(ctx, out, "put", m.keys, m.writers, put); err != nil {
		return err
	}
	began := time.Now()
	n, err := m.list(ctx, client)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "list: %d keys in %s\n", n, time.Since(began).Round(time.Microsecond))
	// Once more with all keys present: the cost of a put may depend on their number.
	if err := m.step(ctx, out, "put again", min(m.keys, 200), m.writers, put); err != nil {
		return err
	}
	if err := m.step(ctx, out, "put again, one at a time", min(m.keys, 50), 1, put); err != nil {
		return err
	}
	batches := min((m.keys+99)/100, 50)
	return m.step(ctx, out, "batch of 100", batches, 1, func(ctx context.Context, i int) error {
		var ops []*pluginv1.Operation
		for k := range 100 {
			ops = append(ops, &pluginv1.Operation{Kind: &pluginv1.Operation_Put{Put: &pluginv1.PutRequest{
				Namespace: measureNamespace, Key: key((i*100 + k) % max(m.keys, 100)), Value: value}}})
		}
		_, err := client.Batch(ctx, &pluginv1.BatchRequest{Operations: ops})
		return err
	})
}

// step makes n calls, some concurrently, and prints how long they took. If the backend refuses one because of a limit, step says so and
// ends.
func (m *measurement) step(ctx context.Context, out io.Writer, what string, n, writers int, call func(context.Context, int) error) error {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	var (
		next   atomic.Int64
		mu     sync.Mutex
		took   []time.Duration
		failed error
		wg     sync.WaitGroup
	)
	began := time.Now()
	for range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				start := time.Now()
				err := call(ctx, i)
				mu.Lock()
				if err == nil {
					took = append(took, time.Since(start))
				} else if failed == nil {
					failed = err
				}
				mu.Unlock()
				if err != nil {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	all := time.Since(began)
	slices.Sort(took)
	if len(took) > 0 {
		fmt.Fprintf(out, "%s: %d in %s, %.0f a second, median %s, slowest %s\n", what, len(took), all.Round(time.Millisecond),
			float64(len(took))/all.Seconds(), took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
	}
	switch {
	case failed == nil:
		return nil
	case status.Code(failed) == codes.ResourceExhausted:
		fmt.Fprintf(out, "%s: refused after %d: %s\n", what, len(took), oneLine(status.Convert(failed).Message()))
		return nil
	default:
		return fmt.Errorf("%s: after %d of %d, %s: %w", what, len(took), n, all.Round(time.Second), failed)
	}
}

func (m *measurement) list(ctx context.Context, client pluginv1.MetaClient) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	stream, err := client.List(ctx, &pluginv1.ListRequest{Namespace: measureNamespace})
	n := 0
	for err == nil {
		var page *pluginv1.ListResponse
		if page, err = stream.Recv(); err == nil {
			n += len(page.GetEntries())
		}
	}
	if !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("list: %w", err)
	}
	return n, nil
}

// clear removes the written keys.
func (m *measurement) clear(ctx context.Context, client pluginv1.MetaClient, key func(int) string) {
	ctx, cancel := context.WithTimeout(ctx, m.within)
	defer cancel()
	for first := 0; first < max(m.keys, 100) && ctx.Err() == nil; first += 100 {
		var ops []*pluginv1.Operation
		for i := range 100 {
			ops = append(ops, &pluginv1.Operation{Kind: &pluginv1.Operation_Delete{Delete: &pluginv1.DeleteRequest{
				Namespace: measureNamespace, Key: key(first + i)}}})
		}
		_, _ = client.Batch(ctx, &pluginv1.BatchRequest{Operations: ops})
	}
}
