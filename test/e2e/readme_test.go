package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
	"github.com/stretchr/testify/require"
)

// example builds one of the example programs.
func example(t *testing.T, name string) string {
	t.Helper()
	root, err := cluster.Root()
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", out, "./examples/"+name)
	cmd.Dir = root
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	return out
}

func TestTheExampleProgramsReachMQTTClientsAndHearThem(t *testing.T) {
	t.Parallel()
	g := start(t, rocketmqProfile)
	namesrv := rocketmqCluster.get(t).Namesrv()[0]
	topic := g.Topic("example")
	online := g.connect(t, g.Name("online"))
	online.subscribe(topic+"/#", 2)
	sleeper := g.connect(t, g.Name("sleeper"), persistent)
	sleeper.subscribe(topic+"/+/cmd", 1)
	sleeper.leave()
	forgotten := g.connect(t, g.Name("forgotten"), persistent)
	forgotten.subscribe(topic+"/#", 1)
	forgotten.leave()

	execute(t, time.Minute, example(t, "rocketmq-send"), namesrv, topic+"/a/cmd", "from an application", topic+"/+/cmd").OK()
	sleeper = g.connect(t, g.Name("sleeper"), persistent)
	for _, c := range []*client{online, sleeper} {
		m := c.await(1)[0]
		require.Equal(t, topic+"/a/cmd", m.Topic())
		require.Equal(t, "from an application", string(m.Payload()))
		require.Equal(t, byte(1), m.Qos())
	}

	receive := exec.Command(example(t, "rocketmq-receive"), namesrv, topic)
	receive.SysProcAttr = dieWithTest()
	stdout, err := receive.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, receive.Start())
	lines := make(chan string, 10)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = receive.Process.Kill()
		for range lines {
		}
		_ = receive.Wait()
	})
	pub := g.connect(t, g.Name("publisher"))
	pub.publish(topic+"/b/state", 1, "from a device")
	select {
	case line := <-lines: // the application's own message has no tag
		require.Equal(t, topic+"/b/state from a device", line)
	case <-time.After(patience):
		t.Fatal("the example heard nothing")
	}
	// The filter of this session was not named, so it got only the device's message.
	forgotten = g.connect(t, g.Name("forgotten"), persistent)
	forgotten.only(pub, topic+"/end", "from a device")
}

// certificate writes a self-signed certificate for loopback, and its key, into a directory.
func certificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return certFile, keyFile
}

func TestTLSAndWebSocketListenersServeTheCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir, "server")
	clientCert, clientKey := certificate(t, dir, "device")
	encrypted := func(kind, clientCA string) settings {
		return settings{"type": kind, "address": "127.0.0.1:0", "cert_file": cert, "key_file": key, "client_ca_file": clientCA}
	}
	g := configure(t, localProfile, settings{"listeners": []settings{
		{"type": "tcp", "address": "127.0.0.1:0"}, {"type": "ws", "address": "127.0.0.1:0", "path": "/mqtt"},
		encrypted("tls", ""), encrypted("wss", ""), encrypted("tls", clientCert),
	}})
	ready := g.launch()
	var line string
	select {
	case line = <-ready:
	case <-time.After(startDeadline):
		t.Fatalf("not ready\n%s", tail(g.Log(), 40))
	}
	g.parse(line)
	var addresses []string // in the order of the configuration
	for word := range strings.FieldsSeq(line) {
		if kind, address, ok := strings.Cut(word, "="); ok && kind != "node" && kind != "admin" {
			addresses = append(addresses, address)
		}
	}
	require.Len(t, addresses, 5)
	topic := g.Topic("listeners") + "/x"
	for _, url := range []string{
		"mqtt://" + addresses[0], "ws://" + addresses[1] + "/mqtt", "mqtts://" + addresses[2], "wss://" + addresses[3] + "/mqtt",
	} {
		client := []string{"--config", g.config(), "--url", url, "--ca-file", cert}
		g.CLI(append([]string{"pub", "-t", topic, "-m", url, "-q", "1", "-r"}, client...)...).OK()
		require.Equal(t, topic+" "+url+"\n", g.CLI(append([]string{"sub", "-t", topic, "-v", "-n", "1"}, client...)...).OK())
	}
	distrusted := g.CLI("pub", "--config", g.config(), "--url", "mqtts://"+addresses[2], "-t", topic, "-m", "x", "-q", "1")
	require.Equal(t, 1, distrusted.code)
	require.Contains(t, distrusted.stderr, "certificate")

	// The last listener requires a client certificate.
	bare := g.CLI("pub", "--config", g.config(), "--url", "mqtts://"+addresses[4], "--ca-file", cert, "-t", topic, "-m", "x", "-q", "1")
	require.Equal(t, 1, bare.code)
	g.CLI(
		"pub",
		"--config",
		g.config(),
		"--url",
		"mqtts://"+addresses[4],
		"--ca-file",
		cert,
		"--cert-file",
		clientCert,
		"--key-file",
		clientKey,
		"-t",
		topic,
		"-m",
		"signed by ours",
		"-q",
		"1",
	).OK()
	half := g.CLI("pub", "--config", g.config(), "--url", "mqtts://"+addresses[4], "--cert-file", clientCert, "-t", topic, "-m", "x")
	require.Equal(t, 1, half.code)
	require.Contains(t, half.stderr, "--cert-file and --key-file")
	_, port, err := net.SplitHostPort(addresses[4])
	require.NoError(t, err)
	execute(
		t,
		time.Minute,
		program(t, "mosquitto_pub", "the Debian package mosquitto-clients"),
		"-h",
		"127.0.0.1",
		"-p",
		port,
		"-i",
		"device",
		"-u",
		user,
		"-P",
		Password("device"),
		"--cafile",
		cert,
		"--cert",
		clientCert,
		"--key",
		clientKey,
		"-t",
		topic,
		"-m",
		"signed",
		"-q",
		"1",
	).OK()
}
