package main

import (
	"path/filepath"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// config is the plugin's block of the gateway's configuration.
type config struct {
	Path string `config:"path" doc:"The file, made when it is not there. Empty: meta.db in node.data_dir. Relative paths are relative to the configuration file."`
}

// file is the absolute path of the file.
func (c config) file(setup sdk.Setup) string {
	if c.Path == "" {
		return filepath.Join(setup.DataDir, "meta.db")
	}
	return setup.Path(c.Path)
}
