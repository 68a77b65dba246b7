package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/gateway"
)

func main() {
	cfg, err := config.Load(os.Args[1], os.Args[2:], os.Environ())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	lvl := slog.LevelInfo
	if cfg.Log.Level == "debug" {
		lvl = slog.LevelDebug
	}
	g, err := gateway.New(cfg, gateway.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: lvl})), Version: "dev"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := g.Start(ctx); err != nil {
		fmt.Println("start", err)
		g.Close(context.Background())
		os.Exit(1)
	}
	fmt.Println(g.ReadyLine())
	<-ctx.Done()
	g.Close(context.Background())
}
