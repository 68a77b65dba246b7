package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/internal/regular"
)

// files checks who may read secrets.
func files(_ context.Context, o *Options) (out []Finding) {
	for _, p := range config.Problems(o.Config.CheckPrivate()) {
		out = append(out, FromError(p.String(), "close the file to others: chmod o-rwx FILE"))
	}
	if _, err := o.Config.FindAdminToken(); err != nil {
		out = append(out, FromError(err.Error(), "delete the file; the gateway makes another at its next start"))
	}
	if o.Config.Auth.Anonymous() {
		out = append(out, warning("auth.plugin is none: every client may do everything", "name an auth plugin, such as auth-hmac"))
	}
	if o.Config.Admin.CertFile == "" && !config.Loopback(o.Config.Admin.Address) {
		out = append(out, warning("admin.address "+o.Config.Admin.Address+" is open to other machines without TLS, so the token can be read on the way",
			"set admin.cert_file and admin.key_file, or listen on 127.0.0.1"))
	}
	return out
}

// expiresSoon is how long before its expiry a certificate causes a warning.
const expiresSoon = 14 * 24 * time.Hour

// certificates checks the files for TLS, and the validity of certificates.
func certificates(_ context.Context, o *Options) (out []Finding) {
	for _, p := range config.Problems(o.Config.CheckTLS()) {
		out = append(out, fault(p.String(), "give a certificate chain and the private key that belongs to it, both in PEM form"))
	}
	now := o.Machine.Now()
	for _, c := range o.Config.Certificates() {
		pair, err := regular.KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			continue // reported above
		}
		const renew = "put a new certificate in its place; the gateway reads it again by itself"
		at := c.Key + ": " + c.CertFile
		switch leaf := pair.Leaf; {
		case leaf.NotBefore.After(now):
			out = append(out, fault(fmt.Sprintf("%s is valid only from %s on", at, day(leaf.NotBefore)), "set the clock of this machine, or renew the certificate"))
		case leaf.NotAfter.Before(now):
			out = append(out, fault(fmt.Sprintf("%s has expired on %s", at, day(leaf.NotAfter)), renew))
		case leaf.NotAfter.Before(now.Add(expiresSoon)):
			out = append(out, warning(fmt.Sprintf("%s expires on %s", at, day(leaf.NotAfter)), renew))
		}
	}
	return out
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// listeners tries to listen on every address. It holds them until all were tried, so that duplicates are found.
func listeners(ctx context.Context, o *Options) (out []Finding) {
	if o.Running {
		return nil
	}
	var open []net.Listener
	defer func() {
		for _, ln := range open {
			_ = ln.Close()
		}
	}()
	try := func(key, address string) {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			out = append(out, fault(fmt.Sprintf("%s: cannot listen on %s: %s", key, address, cause(err)), remedyOf(err, key)))
			return
		}
		open = append(open, ln)
	}
	for i, l := range o.Config.Listeners {
		key := fmt.Sprintf("listeners[%d].address", i)
		if l.Type != config.ListenerUnix {
			try(key, l.Address)
			continue
		}
		key = fmt.Sprintf("listeners[%d].path", i)
		if f, ok := unwritable(filepath.Dir(l.Path), key); ok {
			out = append(out, f)
		}
	}
	try("admin.address", o.Config.Admin.Address)
	return out
}

// remedyOf returns the remedy if listening on an address fails.
func remedyOf(err error, key string) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "end the program that has the port (ss -ltnp names it), or change " + key
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "use a port from 1024 on, or allow low ones: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit file"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "name an address of this machine in " + key + " (ip address lists them), or none, which is every interface"
	}
	return "correct " + key
}

// cause returns the innermost error.
func cause(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err.Error()
}

// Bounds of free space, in bytes.
const (
	leastFree = 64 << 20 // below it the local store refuses every message
	someFree  = 1 << 30
)

// data checks the directories that the gateway writes to.
func data(_ context.Context, o *Options) (out []Finding) {
	c := o.Config
	dirs := [][2]string{{"node.data_dir", c.Node.DataDir}}
	if c.Store.Type == config.StoreLocal && c.Store.Local.Path != "" {
		dirs = append(dirs, [2]string{"store.local.path", c.Store.Local.Path})
	}
	for _, d := range dirs {
		key, dir := d[0], d[1]
		if f, ok := unwritable(dir, key); ok {
			out = append(out, f)
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o002 != 0 {
			out = append(out, warning(key+": every user of this machine may change what is in "+dir, "run: chmod o-w "+dir))
		}
		free, err := o.Machine.Free(existing(dir))
		const remedy = "free some, or move the directory to a larger disk"
		switch {
		case err != nil:
			out = append(out, warning(fmt.Sprintf("%s: the free space of %s is not known: %s", key, dir, err), "look with: df "+dir))
		case free < leastFree:
			out = append(out, fault(fmt.Sprintf("%s: %d MiB are free on the disk of %s; below 64 MiB the local store refuses every message", key,
				free>>20, dir), remedy).of("the disk of "+dir))
		case free < someFree:
			out = append(out, warning(fmt.Sprintf("%s: only %d MiB are free on the disk of %s", key, free>>20, dir), remedy).
				of("the disk of "+dir))
		}
	}
	return out
}

// room says how much is free for the gateway's data; empty if that is not known.
func room(o *Options) string {
	dir := o.Config.Node.DataDir
	if o.Config.Store.Type == config.StoreLocal && o.Config.Store.Local.Path != "" {
		dir = o.Config.Store.Local.Path
	}
	free, err := o.Machine.Free(existing(dir))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(": %.1f GiB are free", float64(free)/(1<<30))
}

// existing returns dir or its nearest parent that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// unwritable reports a directory in which files cannot be created, or that cannot be created itself.
func unwritable(dir, key string) (Finding, bool) {
	there := existing(dir)
	f, err := os.CreateTemp(there, ".lmqgate-doctor-*")
	if err != nil {
		if failed, ok := errors.AsType[*os.PathError](err); ok {
			err = failed.Err
		}
		remedy := "give the directory to the user that the gateway runs as (chown), or name another in " + key
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			remedy = "the process has as many files and connections open as it may; " + raiseFiles
		}
		return fault(fmt.Sprintf("%s: nothing can be written in %s: %s", key, there, err), remedy), true
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	return Finding{}, false
}
