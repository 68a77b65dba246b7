package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lmqgate/lmqgate/internal/regular"
)

// nodeIDFile keeps a generated node id, in node.data_dir.
const nodeIDFile = "node-id"

// NodeID returns the id of the node that owns dataDir, for a configuration with an empty node.id. The first call creates an id from the
// host name and a random part and stores it in dataDir, which is created if missing. Later calls, including those of other processes,
// return the same id.
func NodeID(dataDir string) (string, error) {
	path := filepath.Join(dataDir, nodeIDFile)
	if id, err := readNodeID(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random) // crypto/rand.Read never fails
	if err := keepOnce(path, hostPart()+"-"+hex.EncodeToString(random)); err != nil {
		return "", fmt.Errorf("keep the node id: %w", err)
	}
	return readNodeID(path)
}

// keepOnce writes a line to a file in node.data_dir that only its owner can read, unless the file exists. It writes a temporary file and
// links it into place: a crash leaves a complete file or none, and of two processes that start at once one wins.
func keepOnce(path, line string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("create node.data_dir: %w", err)
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // the link stays
	_, err = tmp.WriteString(line + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Link(tmp.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func readNodeID(path string) (string, error) {
	data, err := regular.Read(path)
	if err != nil {
		return "", fmt.Errorf("read the node id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if !nodeIDPattern.MatchString(id) {
		return "", fmt.Errorf("%s holds %s, which is no node id: delete the file or set node.id", path, quote(id))
	}
	return id, nil
}

// hostPart converts the host name to a valid part of a node id.
func hostPart() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	host = strings.Map(func(r rune) rune {
		if r < 0x80 && nodeIDPattern.MatchString(string(r)) {
			return r
		}
		return -1
	}, host)
	if host == "" {
		host = "node"
	}
	return host[:min(len(host), 48)]
}
