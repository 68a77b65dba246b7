package performance

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine describes this machine: cores, memory, system, Go. What the system does not tell is left out.
func Machine() string {
	words := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if model := valueOf("/proc/cpuinfo", "model name"); model != "" {
		words[0] += " (" + model + ")"
	}
	var kib float64
	if n, _ := fmt.Sscanf(valueOf("/proc/meminfo", "MemTotal"), "%f kB", &kib); n == 1 {
		words = append(words, fmt.Sprintf("%.0f GiB", kib/(1<<20)))
	}
	if system := strings.Trim(valueOf("/etc/os-release", "PRETTY_NAME"), `"`); system != "" {
		words = append(words, system)
	}
	return strings.Join(append(words, "Go "+strings.TrimPrefix(runtime.Version(), "go")), ", ")
}

// LoadAverage returns the load average over the last minute; 0 if the system does not tell.
func LoadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var load float64
	_, _ = fmt.Sscan(string(b), &load)
	return load
}

// valueOf returns the first value of a key in a file of lines such as "key: value" or "key=value"; empty if there is none.
func valueOf(file, key string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return ""
}
