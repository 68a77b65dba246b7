package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

func newConfigImportCommand() *cobra.Command {
	var service, connect, meta string
	cmd := &cobra.Command{
		Use:   "import --service FILE --connect FILE [--meta FILE]",
		Short: "Turn the files of Apache RocketMQ MQTT into a configuration",
		Long: "Reads service.conf, connect.conf and meta.conf of Apache RocketMQ MQTT and writes an lmqgate configuration to standard output.\n" +
			"What cannot be carried over is a comment at its top, with the reason. It holds secret keys: where standard output is a file,\n" +
			"the rest of the users of this machine lose the right to read it, because a gateway would not start with it.",
		Example: "  lmqgate config import --service service.conf --connect connect.conf --meta meta.conf > lmqgate.yaml",
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if service == "" || connect == "" {
				return usagef("%s wants --service FILE and --connect FILE", cmd.CommandPath())
			}
			var in importer
			for _, f := range []struct {
				flag, path string
				into       *map[string]string
			}{{"--service", service, &in.service}, {"--connect", connect, &in.connect}, {"--meta", meta, &in.meta}} {
				if f.path == "" {
					continue
				}
				data, err := os.ReadFile(filepath.Clean(f.path))
				if err != nil {
					return fmt.Errorf("%s: %w", f.flag, err)
				}
				*f.into = parseProperties(string(data))
			}
			if err := closeToOthers(cmd.OutOrStdout()); err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(in.yaml()); err != nil {
				return err
			}
			if n := len(in.notes); n > 0 {
				_, err := fmt.Fprintf(cmd.ErrOrStderr(), "lmqgate: read the %d notes at the top of the new file: they tell what was not carried over\n", n)
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "service.conf `FILE`")
	cmd.Flags().StringVar(&connect, "connect", "", "connect.conf `FILE`")
	cmd.Flags().StringVar(&meta, "meta", "", "meta.conf `FILE`")
	return cmd
}

// closeToOthers removes the permissions of everybody except owner and group, if w is a file.
func closeToOthers(w io.Writer) error {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o007 == 0 {
		return err
	}
	return f.Chmod(info.Mode().Perm() &^ 0o007)
}

// importer converts properties to YAML, and collects what it could not convert.
type importer struct {
	service, connect, meta map[string]string
	notes                  []string
}

func (in *importer) note(format string, args ...any) {
	in.notes = append(in.notes, strings.Map(func(r rune) rune {
		if forbidden(r) {
			return unicode.ReplacementChar
		}
		return r
	}, oneLine(fmt.Sprintf(format, args...))))
}

// yaml returns the configuration. Afterwards the notes are complete.
func (in *importer) yaml() []byte {
	var b bytes.Buffer
	in.listeners(&b)
	in.mqtt(&b)
	in.auth(&b)
	in.rocketmq(&b)
	b.WriteString("\ntopics:\n  auto_create: false\n")
	b.WriteString("\nlimits:\n  identity:\n    share: 100  # all clients are one user\n")
	b.WriteString("\nadmin:\n  address: \"127.0.0.1:8080\"\n")
	in.leftOver("service.conf", in.service, serviceNotes)
	in.leftOver("connect.conf", in.connect, connectNotes)
	in.leftOver("meta.conf", in.meta, metaNotes)

	var head bytes.Buffer
	head.WriteString("# Imported from Apache RocketMQ MQTT by lmqgate config import.\n")
	for _, n := range in.notes {
		head.WriteString("# NOTE: " + n + "\n")
	}
	head.WriteByte('\n')
	return append(head.Bytes(), b.Bytes()...)
}

func (in *importer) listeners(b *bytes.Buffer) {
	fmt.Fprintf(b, "listeners:\n  - {type: tcp, address: %s}\n", text(":"+in.port("mqttPort", "1883")))
	fmt.Fprintf(b, "  - {type: ws, address: %s, path: /mqtt}\n", text(":"+in.port("mqttWsPort", "8888")))
	in.note("connect.conf served WebSocket on any path; the ws listener serves /mqtt only")
	tlsPort := in.port("mqttTlsPort", "8883")
	if !truthy(in.take(in.connect, "enableTlsSever")) {
		in.take(in.connect, "needClientAuth")
		return
	}
	in.note("copy mqtt.crt and mqtt.key of the old conf directory beside this file: the tls listener reads them as PEM")
	fmt.Fprintf(b, "  - type: tls\n    address: %s\n    cert_file: mqtt.crt\n    key_file: mqtt.key\n", text(":"+tlsPort))
	if truthy(in.take(in.connect, "needClientAuth")) {
		b.WriteString("    client_ca_file: client-ca.crt\n")
		in.note("needClientAuth=true: put the authorities of the client certificates into client-ca.crt beside this file")
	}
}

func (in *importer) mqtt(b *bytes.Buffer) {
	size, sizeGiven := in.number("maxPacketSizeInByte", 64, 268_435_460)
	connections, connectionsGiven := in.number("maxConn", 0, 1<<31-1)
	if !sizeGiven && !connectionsGiven {
		return
	}
	b.WriteString("\nmqtt:\n")
	if sizeGiven {
		fmt.Fprintf(b, "  max_packet_size: %d\n", size)
	}
	if connectionsGiven {
		fmt.Fprintf(b, "  max_connections: %d\n", connections)
	}
}

func (in *importer) auth(b *bytes.Buffer) {
	user, secret := in.take(in.service, "username"), in.take(in.service, "secretKey")
	b.WriteString("\nauth:\n  plugin: auth-hmac\n  config:\n    users:\n")
	if user == "" || secret == "" {
		in.note("service.conf has no username and secretKey: fill in auth.config.users, or the gateway will not start")
	}
	fmt.Fprintf(b, "      - username: %s\n        secret_key: %s\n", text(user), text(secret))
}

func (in *importer) rocketmq(b *bytes.Buffer) {
	var servers []string
	for s := range strings.FieldsFuncSeq(in.take(in.service, "NAMESRV_ADDR"), func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		servers = append(servers, text(s))
	}
	if servers == nil {
		servers = []string{text("127.0.0.1:9876")}
		in.note("service.conf has no NAMESRV_ADDR: 127.0.0.1:9876 stands for it, in meta.config.namesrv and store.rocketmq.namesrv")
	}
	list := strings.Join(servers, ", ")
	fmt.Fprintf(b, "\nmeta:\n  plugin: meta-namesrv\n  config:\n    namesrv: [%s]\n", list)
	fmt.Fprintf(b, "\nstore:\n  type: rocketmq\n  rocketmq:\n    namesrv: [%s]\n    dispatch: compatible # as the old gateways expect; \"auto\" once none is left and no client comes from one\n", list)
}

// leftOver adds a note for every setting that was not taken.
func (in *importer) leftOver(file string, settings map[string]string, reasons map[string]string) {
	keys := make([]string, 0, len(settings))
	for k := range settings {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		reason, ok := reasons[k]
		if !ok {
			reason = "unknown to this importer"
		}
		value := settings[k]
		if strings.Contains(strings.ToLower(k), "secret") || strings.Contains(strings.ToLower(k), "password") {
			value = "..."
		}
		in.note("%s: %s=%s not carried over: %s", file, k, value, reason)
	}
}

// take returns a setting and removes it, so that the unused ones are left.
func (in *importer) take(settings map[string]string, key string) string {
	v := strings.TrimSpace(settings[key])
	delete(settings, key)
	return v
}

func (in *importer) port(key, otherwise string) string {
	v := in.take(in.connect, key)
	if v == "" {
		return otherwise
	}
	if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
		in.note("connect.conf: %s=%s is no port; %s stands for it", key, v, otherwise)
		return otherwise
	}
	return v
}

func (in *importer) number(key string, low, high int64) (int64, bool) {
	v := in.take(in.connect, key)
	if v == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		in.note("connect.conf: %s=%s is out of range (%d to %d); the default stands for it", key, v, low, high)
		return 0, false
	}
	return n, true
}

func truthy(s string) bool { return strings.EqualFold(s, "true") }

// text quotes a value. A JSON string is a YAML string once everything that YAML forbids is escaped.
func text(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string and a buffer: cannot fail
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if forbidden(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// forbidden reports whether a file in YAML must not contain a character (YAML 1.2, 5.1), or whether parsers take it for something else.
func forbidden(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 ||
		r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff
}

// Reasons why settings have no counterpart.
const (
	reasonNoRPC   = "gateways do not call each other; messages and control events travel through RocketMQ"
	reasonNoMeta  = "there is no meta cluster; retained messages, wills and sessions are kept by the meta plugin"
	reasonThreads = "the gateway schedules its work itself"
	reasonBuffers = "back-pressure is set by mqtt.receive_maximum"
	reasonCursor  = "messages wait in RocketMQ, not in a cache; nothing to size"
	reasonRetry   = "an unacknowledged message is sent again when its client reconnects (MQTT 4.4)"
	reasonMetrics = "metrics are at /metrics on admin.address"
	reasonOrder   = "order for each publisher and topic is always kept"
)

var serviceNotes = map[string]string{
	"eventNotifyRetryTopic":   reasonNoRPC,
	"eventNotifyRetryMaxTime": reasonNoRPC,
	"csRpcPort":               reasonNoRPC,
	"clientRetryTopic":        "retry queues are managed by the store",
	"clientP2pTopic":          "point-to-point queues are managed by the store",
	"metaAddr":                reasonNoMeta,
	"retainMsgExpire":         "retained messages are kept until they are replaced or removed",
	"authThreadNum":           reasonThreads,
	"threadNum":               reasonThreads,
	"pullBatch":               reasonCursor,
}

var connectNotes = map[string]string{
	"highWater":                reasonBuffers,
	"lowWater":                 reasonBuffers,
	"order":                    reasonOrder,
	"maxRetryTime":             reasonRetry,
	"retryIntervalSeconds":     reasonRetry,
	"sizeOfNotRollWhenAckSlow": reasonCursor,
	"queueCacheSize":           reasonCursor,
	"pullBatchSize":            reasonCursor,
	"rpcListenPort":            reasonNoRPC,
	"exporterPort":             reasonMetrics,
	"enablePrometheus":         reasonMetrics,
	"exportJvmInfo":            reasonMetrics,
	"nettySelectorThreadNum":   reasonThreads,
	"nettyWorkerThreadNum":     reasonThreads,
}

var metaNotes = map[string]string{
	"selfAddress":          reasonNoMeta,
	"membersAddress":       reasonNoMeta,
	"allNodeAddress":       reasonNoMeta,
	"raftNodePort":         reasonNoMeta,
	"metaPort":             reasonNoMeta,
	"maxRetainedTopicNum":  reasonNoMeta,
	"electionTimeoutMs":    reasonNoMeta,
	"snapshotIntervalSecs": reasonNoMeta,
	"scanNum":              reasonNoMeta,
	"RaftServiceName":      reasonNoMeta,
	"META_BASE_DIR":        reasonNoMeta,
}
