package main

import (
	"path/filepath"
	"time"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// config is the plugin's block of the gateway's configuration.
type config struct {
	Path         string        `config:"path" doc:"the database file; empty: meta.sqlite in node.data_dir; relative paths are relative to the configuration file"`
	PollInterval time.Duration `config:"poll_interval" default:"50ms" doc:"how often the database is asked for what other processes wrote"`
}

// Check implements sdk.Checker.
func (c config) Check() []sdk.Problem {
	if c.PollInterval < time.Millisecond || c.PollInterval > 10*time.Second {
		return []sdk.Problem{sdk.Problemf("poll_interval", "must be from 1ms to 10s")}
	}
	return nil
}

// file returns the absolute path of the database.
func (c config) file(setup sdk.Setup) string {
	if c.Path == "" {
		return filepath.Join(setup.DataDir, "meta.sqlite")
	}
	return setup.Path(c.Path)
}
