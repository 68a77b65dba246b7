package fault

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAFullDiskLosesNothing fills the disk with the messages and the metadata of a gateway, sometimes to the last byte, and makes room
// again. Meanwhile nothing is acknowledged. A gateway that asks for a restart is restarted.
func TestAFullDiskLosesNothing(t *testing.T) {
	onFiles(t, func(t *testing.T, r *rand.Rand, rep *report) {
		disk := filepath.Join(t.TempDir(), "disk")
		mountDisk(t, disk, 256<<20)
		f := newFleetOnFiles(t, r, settings{"node": settings{"data_dir": disk}})
		n := f.nodes[0]
		senders, rovers := f.crowd(scale(2, 4), scale(3, 6), 300*time.Millisecond)
		for range scale(2, 6) {
			left := int64(r.IntN(2)) * (16 << 20) // the gateway requires 64 MiB of free space
			ballast := filepath.Join(disk, "ballast")
			require.NoError(t, fill(ballast, disk, left))
			f.eventually(func() error {
				if n.readiness() == http.StatusOK {
					return errors.New("the gateway says that it is ready, with a full disk")
				}
				return nil
			})
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
			require.NoError(t, os.Remove(ballast))
			f.moreWhile(senders, 20, func() {
				if strings.Contains(n.log(1_000_000), "refuses all writes until restart") {
					n.kill()
					require.NoError(t, os.Truncate(filepath.Join(n.dir, "log"), 0))
					n.start()
				}
			})
		}
		f.settle(rep, senders, rovers, bounds{duplicates: 50, repeats: scale(2, 6) * len(senders) * flyingMost, refused: true})
	})
}

// fill writes a file until only the given number of bytes is free on its disk.
func fill(path, disk string, left int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	free, err := freeBytes(disk)
	if err != nil {
		return err
	}
	if left > 0 {
		_, err = io.CopyN(file, zeros{}, max(0, free-left))
		return err
	}
	if _, err = io.Copy(file, zeros{}); err == nil {
		return fmt.Errorf("%s has no end", disk)
	}
	return nil
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// readiness returns the status code of /readyz, or 0.
func (n *node) readiness() int {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get("http://" + n.adminAddress() + "/readyz")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}
