package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// minToken is the least length of a token, in bytes: 16 random letters and digits are over 80 bits.
const minToken = 16

var (
	// secretPattern is how keys of secrets are called, also in the blocks of plugins, which the gateway does not know.
	secretPattern   = regexp.MustCompile(`(^|[._])(secret|password|passwd|token|headers)([._]|$)`)
	secretNot       = regexp.MustCompile(`_(file|path|url|claim|ttl)$`)
	secretSections  = []string{"admin", "store", "auth.config", "meta.config", "meta.next.config"}
	userinfoPattern = regexp.MustCompile(`://[^/@\s]*:[^/@\s]+@`)
)

// isSecret says whether a value in a file is one that nobody else should read. The demonstration user's secret is known to all.
func isSecret(key, value string) bool {
	if value == "" || value == DemoSecret {
		return false
	}
	inside := slices.ContainsFunc(secretSections, func(s string) bool { return strings.HasPrefix(key, s+".") })
	return inside && (secretPattern.MatchString(key) && !secretNot.MatchString(key) || userinfoPattern.MatchString(value))
}

// CheckPrivate reports, as an *Error, the files of this configuration that hold secrets and that every user of the machine may
// read: the configuration file itself, where there are secrets in it, and private keys. Members of a file's group may read it. It is
// for who runs the gateway; commands that only read a configuration do without.
func (c *Config) CheckPrivate() error {
	var p problems
	p.where = c.Where
	if len(c.secretKeys) > 0 && exposed(c.Path) {
		p.list = append(p.list, Problem{Where: c.Path, Message: fmt.Sprintf("every user of this machine may read the secrets in it (%s); run: chmod o-rwx %s, or give them in environment variables",
			strings.Join(c.secretKeys[:min(3, len(c.secretKeys))], ", "), c.Path)})
	}
	check := func(key, path string) {
		if path != "" && exposed(path) {
			p.add(key, "every user of this machine may read the private key; run: chmod o-rwx %s", path)
		}
	}
	for i, l := range c.Listeners {
		if l.Type.Encrypted() {
			check("listeners["+strconv.Itoa(i)+"].key_file", l.KeyFile)
		}
	}
	check("admin.key_file", c.Admin.KeyFile)
	if c.Store.Type == StoreRocketMQ && c.Store.RocketMQ.TLS.Enabled {
		check("store.rocketmq.tls.key_file", c.Store.RocketMQ.TLS.KeyFile)
	}
	return p.err()
}

// exposed says whether users who are neither the file's owner nor of its group may read it: it is readable, and each directory on
// the way to it lets them through. What cannot be looked at is not known to be exposed.
func exposed(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0 {
		return false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&fs.FileMode(0o001) == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
