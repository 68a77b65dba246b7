package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/docs/performance"
)

// The brokers have their defaults, except for limits at which they would drop messages of these loads, or wait for one subscriber.

// mosquittoConfig: by default 1,000 messages wait for a client, which overflows in fanin, and 20 are in flight to it.
const mosquittoConfig = `listener %s %s
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
log_type error
log_type warning
`

func startMosquitto(ctx context.Context) (*broker, error) {
	path := "mosquitto"
	if _, err := exec.LookPath(path); err != nil {
		path = "/usr/sbin/mosquitto" // Debian's place, which is not on every PATH
	}
	return launch(ctx, program{
		name: performance.Mosquitto, path: path, remedy: "it is not installed: apt-get install mosquitto",
		arguments: func(dir, addr string) ([]string, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			config := fmt.Sprintf(mosquittoConfig, port, host)
			if os.Geteuid() == 0 {
				config += "user root\n" // otherwise it changes to a user who cannot read the directory
			}
			file := filepath.Join(dir, "mosquitto.conf")
			return []string{"-c", file}, os.WriteFile(file, []byte(config), 0o600)
		},
		version: func(ctx context.Context) string {
			out, _ := exec.CommandContext(ctx, path, "-h").CombinedOutput() // ends with status 3
			return firstVersion(out)
		},
	})
}

var versionText = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

func firstVersion(out []byte) string { return string(versionText.Find(out)) }

const buildPeers = "%s is not there: run make peers"

// moduleVersion returns the version of a module that a Go program was built with.
func moduleVersion(file, module string) string {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return ""
	}
	if info.Main.Path == module {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return strings.TrimPrefix(d.Version, "v")
		}
	}
	return ""
}

func startMochi(ctx context.Context, peers string) (*broker, error) {
	path := filepath.Join(peers, "mochi")
	return launch(ctx, program{
		name: performance.Mochi, path: path, remedy: fmt.Sprintf(buildPeers, path),
		arguments: func(_, addr string) ([]string, error) { return []string{addr}, nil },
		version:   func(context.Context) string { return moduleVersion(path, "github.com/mochi-mqtt/server/v2") },
	})
}

// natsConfig: MQTT needs JetStream and a server name.
const natsConfig = `listen: "127.0.0.1:-1"
server_name: bench
jetstream { store_dir: %q }
mqtt { listen: %q }
`

func startNATS(ctx context.Context, peers string) (*broker, error) {
	path := filepath.Join(peers, "nats-server")
	return launch(ctx, program{
		name: performance.NATS, path: path, remedy: fmt.Sprintf(buildPeers, path),
		arguments: func(dir, addr string) ([]string, error) {
			file := filepath.Join(dir, "nats.conf")
			return []string{"-c", file}, os.WriteFile(file, fmt.Appendf(nil, natsConfig, filepath.Join(dir, "store"), addr), 0o600)
		},
		version: func(ctx context.Context) string {
			out, _ := exec.CommandContext(ctx, path, "--version").Output()
			return firstVersion(out)
		},
	})
}

// hivemqConfig: in memory, because writing to disk it does some hundred messages a second here.
const hivemqConfig = `<?xml version="1.0"?>
<hivemq>
  <listeners><tcp-listener><port>%s</port><bind-address>%s</bind-address></tcp-listener></listeners>
  <mqtt><queued-messages><max-queue-size>100000</max-queue-size></queued-messages></mqtt>
  <persistence><mode>in-memory</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
`

func startHiveMQ(ctx context.Context, peers string) (*broker, error) {
	lib := filepath.Join(peers, "hivemq")
	jars, err := filepath.Glob(filepath.Join(lib, "hivemq-community-edition-embedded-*.jar"))
	if err != nil || len(jars) == 0 {
		return nil, errMissing(lib + " has no jars: run make peers, which needs maven and default-jdk-headless")
	}
	if lib, err = filepath.Abs(lib); err != nil {
		return nil, err
	}
	return launch(ctx, program{
		name: performance.HiveMQ, path: "java", remedy: "java is not installed: apt-get install default-jre-headless",
		warmUp: 8 * time.Second,
		arguments: func(dir, addr string) ([]string, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			for _, d := range []string{"conf", "data", "extensions"} {
				if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
					return nil, err
				}
			}
			config := fmt.Sprintf(hivemqConfig, port, host)
			return []string{"-cp", lib + string(os.PathListSeparator) + filepath.Join(lib, "*"), "Hivemq", dir},
				os.WriteFile(filepath.Join(dir, "conf", "config.xml"), []byte(config), 0o600)
		},
		version: func(context.Context) string {
			return firstVersion(bytes.TrimPrefix([]byte(filepath.Base(jars[0])), []byte("hivemq-community-edition-embedded-")))
		},
	})
}
