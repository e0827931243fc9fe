package load

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// MetricCount answers a counter's value, summed over all its label sets, as a Prometheus endpoint
// shows it: for Config.ServerCount.
func MetricCount(url, name string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close() //nolint:errcheck // nothing was written
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("read metrics: status %d", resp.StatusCode)
		}
		var sum float64
		found := false
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			rest, ok := strings.CutPrefix(lines.Text(), name)
			if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
				continue
			}
			value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			if err != nil {
				return 0, fmt.Errorf("read metric %s: %w", name, err)
			}
			sum += value
			found = true
		}
		if err := lines.Err(); err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		if !found {
			return 0, fmt.Errorf("find metric %s: it is not there", name)
		}
		return int64(sum), nil
	}
}
