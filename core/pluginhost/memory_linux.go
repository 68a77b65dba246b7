package pluginhost

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// outOfMemoryScore is added to what makes the kernel end a process when memory runs out: a plugin before the gateway, because
// it is started again and nobody is disconnected.
const outOfMemoryScore = "300"

// memoryOf is what a process has made its own, in bytes: resident memory without pages of files, which the kernel takes back
// (a database that is mapped into memory counts for nothing). ok is false where that cannot be told.
func memoryOf(pid int) (used uint64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key != "RssAnon" && key != "RssShmem" {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
		if err != nil {
			return 0, false
		}
		used, ok = used+kib<<10, true
	}
	return used, ok
}

// offer makes a plugin's process the first to go when the machine has no memory left. It may not be allowed; then all stays.
func offer(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(outOfMemoryScore), 0)
}
