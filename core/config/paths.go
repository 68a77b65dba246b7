package config

import (
	"fmt"
	"os"
	"path/filepath"
)

// resolvePaths makes every path absolute: against the configuration file's
// directory, or the working directory without a file.
func (c *Config) resolvePaths(path string) error {
	dir := "."
	if path != "" {
		c.Path = path
		dir = filepath.Dir(path)
	}
	var err error
	if c.Dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find the directory of the configuration: %w", err)
	}
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(c.Dir, *p)
		}
	}
	abs(&c.Node.DataDir)
	for i := range c.Listeners {
		abs(&c.Listeners[i].CertFile)
		abs(&c.Listeners[i].KeyFile)
		abs(&c.Listeners[i].ClientCAFile)
		if c.Listeners[i].Type == ListenerUnix {
			abs(&c.Listeners[i].Path)
		}
	}
	abs(&c.Admin.CertFile)
	abs(&c.Admin.KeyFile)
	abs(&c.Store.RocketMQ.TLS.CAFile)
	abs(&c.Store.RocketMQ.TLS.CertFile)
	abs(&c.Store.RocketMQ.TLS.KeyFile)
	if c.Store.Local.Path == "" {
		c.Store.Local.Path = filepath.Join(c.Node.DataDir, "store")
	}
	abs(&c.Store.Local.Path)
	if c.Plugins.Dir == "" {
		if c.Plugins.Dir, err = besideBinary("plugins"); err != nil {
			return err
		}
	}
	abs(&c.Plugins.Dir)
	return nil
}

func besideBinary(name string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the lmqgate binary for plugins.dir (set plugins.dir): %w", err)
	}
	if target, err := filepath.EvalSymlinks(exe); err == nil {
		exe = target
	}
	return filepath.Join(filepath.Dir(exe), name), nil
}
