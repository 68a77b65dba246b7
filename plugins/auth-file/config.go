package main

import (
	"runtime"
	"time"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// config is the plugin's configuration block.
type config struct {
	File                string        `config:"file,required" doc:"the YAML file of the users"`
	ReloadInterval      time.Duration `config:"reload_interval" default:"2s" doc:"how often the file is looked at; 100ms to 1h"`
	MaxConcurrentHashes int           `config:"max_concurrent_hashes" default:"0" doc:"passwords that are hashed at a time; 0: one for each processor; at most 256"`
}

// Check implements sdk.Checker: it checks rules that the types cannot express, and fills in defaults that depend on the machine.
func (c *config) Check() []sdk.Problem {
	var problems []sdk.Problem
	if c.ReloadInterval < 100*time.Millisecond || c.ReloadInterval > time.Hour {
		problems = append(problems, sdk.Problemf("reload_interval", "must be from 100ms to 1h, not %s", c.ReloadInterval))
	}
	if c.MaxConcurrentHashes < 0 || c.MaxConcurrentHashes > 256 {
		problems = append(problems, sdk.Problemf("max_concurrent_hashes", "must be from 0 to 256, not %d", c.MaxConcurrentHashes))
	}
	if c.MaxConcurrentHashes == 0 {
		c.MaxConcurrentHashes = runtime.GOMAXPROCS(0)
	}
	return problems
}
