package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/gateway"
)

// printHints prints, on a terminal only, commands that a newcomer can paste
// into another one.
func printHints(out io.Writer, c *config.Config, g *gateway.Gateway) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return
	}
	for i, l := range c.Listeners {
		if !plainTCP(l) {
			continue
		}
		if host, port, err := reachable(g.Addrs()[i].String()); err == nil {
			fmt.Fprint(out, hints(c, os.Args[0], host, port))
		}
		return
	}
}

// hints returns the commands for a tcp listener. binary is the command name of lmqgate.
func hints(c *config.Config, binary, host, port string) string {
	var b strings.Builder
	line := func(args ...string) {
		b.WriteByte(' ')
		for _, a := range args {
			b.WriteString(" " + shellWord(a))
		}
		b.WriteByte('\n')
	}
	_, _, err := credentials(c, "", "")
	known := err == nil || c.Auth.Anonymous()
	if c.Path != "" {
		b.WriteString("\nIn another terminal:\n")
		with := []string{"--config", c.Path}
		if !c.Topics.AutoCreate {
			line(append([]string{binary, "topic", "create", "demo"}, with...)...)
		}
		if _, configured, err := tcpListener(c); err != nil || configured != port {
			with = append(with, "--port", port)
		}
		if !known {
			with = append(with, "-u", "USER", "-P", "PASSWORD")
		}
		line(append(append([]string{binary, "sub"}, with...), "-t", "demo/#", "-q", "1", "-v")...)
		line(append(append([]string{binary, "pub"}, with...), "-t", "demo/hello", "-m", "hello", "-q", "1")...)
	}
	b.WriteString("With Mosquitto's clients:\n")
	mosquitto := func(tool, clientID string, args ...string) {
		words := []string{tool, "-h", host, "-p", port, "-i", clientID}
		switch user, password, err := credentials(c, "", clientID); {
		case err == nil:
			words = append(words, "-u", user, "-P", password)
		case !known:
			words = append(words, "-u", "USER", "-P", "PASSWORD")
		}
		line(append(words, args...)...)
	}
	mosquitto("mosquitto_sub", "demo-sub", "-t", "demo/#", "-q", "1", "-v")
	mosquitto("mosquitto_pub", "demo-pub", "-t", "demo/hello", "-m", "hello", "-q", "1")
	if _, port, err := net.SplitHostPort(c.Admin.Address); err == nil && port != "0" {
		scheme := "http"
		if c.Admin.CertFile != "" {
			scheme = "https"
		}
		fmt.Fprintf(&b, "Dashboard: %s://%s/", scheme, c.Admin.Address)
		if c.Admin.Token == "" {
			fmt.Fprintf(&b, ", with the token in %s", c.AdminTokenPath())
		}
		fmt.Fprintf(&b, ". Metrics: %s://%s/metrics. ", scheme, c.Admin.Address)
	}
	b.WriteString("Ctrl-C stops the gateway.\n")
	return b.String()
}

// shellWord quotes a word if a shell would change it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=+,@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
