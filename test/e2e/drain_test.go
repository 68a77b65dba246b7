package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestADrainedGatewayMovesItsClientsOffAndEnds(t *testing.T) {
	g := start(t, localProfile)
	var clients []*client
	for i := range 6 {
		clients = append(clients, g.connect(t, fmt.Sprint("c", i)))
	}
	g.operate("drain", "--over", "6s").OK()
	eventually(t, patience, func() error {
		resp, err := http.Get("http://" + g.Admin + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("readyz answers %d", resp.StatusCode)
		}
		return nil
	})
	for _, c := range clients {
		select {
		case <-c.lost:
		case <-time.After(patience):
			t.Fatalf("%s is connected still", c.id)
		}
	}
	eventually(t, patience, func() error {
		if g.running() {
			return fmt.Errorf("the gateway runs")
		}
		return nil
	})
	require.NoError(t, g.err)
	require.Contains(t, g.Log(), "draining")
}
