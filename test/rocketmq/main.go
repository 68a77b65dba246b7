// Command rocketmq starts and stops a RocketMQ for development, and for tests that need a running one:
//
//	go run ./test/rocketmq up [--version 5.4.0] [--brokers 1] [--namesrvs 1]
//	go run ./test/rocketmq down
//	go run ./test/rocketmq mqadmin ARGUMENTS...
//
// up writes the addresses to .rocketmq/env (NAME=value lines, for shells) and .rocketmq/cluster.json; storage and logs are beside them. It
// does nothing if a cluster of that version is already up.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// state is the content of .rocketmq/cluster.json.
type state struct {
	Version string   `json:"version"`
	Namesrv []string `json:"namesrv"`
	Brokers []string `json:"brokers"`
	PIDs    []int    `json:"pids"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rocketmq:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, ".rocketmq")
	if len(args) == 0 {
		return errors.New("want a command: up, down or mqadmin")
	}
	switch args[0] {
	case "up":
		return up(ctx, dir, args[1:])
	case "down":
		return down(ctx, dir)
	case "mqadmin":
		st, err := load(dir)
		if err != nil {
			return err
		}
		out, err := cluster.Mqadmin(ctx, st.Version, strings.Join(st.Namesrv, ";"), args[1:]...)
		fmt.Print(out)
		return err
	}
	return fmt.Errorf("unknown command %q: want up, down or mqadmin", args[0])
}

func up(ctx context.Context, dir string, args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	version := flags.String("version", cluster.Versions[0], "RocketMQ version")
	brokers := flags.Int("brokers", 1, "number of brokers")
	namesrvs := flags.Int("namesrvs", 1, "number of name servers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if st, err := load(dir); err == nil {
		if st.Version == *version && len(st.Brokers) == *brokers && len(st.Namesrv) == *namesrvs && answers(st) {
			fmt.Printf("RocketMQ %s is up already: namesrv %s\n", st.Version, strings.Join(st.Namesrv, ","))
			return nil
		}
		if err := down(ctx, dir); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{
		Version: *version, Brokers: *brokers, Namesrvs: *namesrvs, Dir: filepath.Join(dir, *version), Detached: true, Optimized: true,
	})
	if err != nil {
		return err
	}
	st := state{Version: *version, Namesrv: c.Namesrv(), Brokers: c.Brokers(), PIDs: c.PIDs()}
	if err := save(dir, st); err != nil {
		c.Stop()
		return err
	}
	fmt.Printf(
		"RocketMQ %s is up: namesrv %s, brokers %s; see %s\n",
		st.Version,
		strings.Join(st.Namesrv, ","),
		strings.Join(st.Brokers, ","),
		filepath.Join(dir, "env"),
	)
	return nil
}

func down(ctx context.Context, dir string) error {
	st, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("RocketMQ is not up")
		return nil
	}
	if err != nil {
		return err
	}
	for _, pid := range slices.Backward(st.PIDs) { // brokers before name servers
		if err := cluster.StopProcess(ctx, pid); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	fmt.Println("RocketMQ is down")
	return nil
}

func answers(st state) bool {
	for _, addr := range append(append([]string{}, st.Namesrv...), st.Brokers...) {
		nc, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		_ = nc.Close()
	}
	return true
}

func load(dir string) (state, error) {
	var st state
	raw, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return st, fmt.Errorf("no RocketMQ is up (start one with: make rocketmq-up): %w", err)
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return st, fmt.Errorf("read %s: %w", filepath.Join(dir, "cluster.json"), err)
	}
	return st, nil
}

func save(dir string, st state) error {
	raw, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	env := fmt.Sprintf("ROCKETMQ_VERSION=%s\nROCKETMQ_NAMESRV=%s\nROCKETMQ_BROKERS=%s\n",
		st.Version, strings.Join(st.Namesrv, ","), strings.Join(st.Brokers, ","))
	if err := os.WriteFile(filepath.Join(dir, "env"), []byte(env), 0o644); err != nil {
		return fmt.Errorf("write where RocketMQ is: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.json"), append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write where RocketMQ is: %w", err)
	}
	return nil
}
