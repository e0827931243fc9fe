package sink

import (
	"strings"

	"github.com/mileusna/useragent"
)

const (
	// maxAgents bounds the cache of parsed user agents; it is emptied when full. Some hundreds make
	// up nearly all of a site's traffic.
	maxAgents = 2048
	// maxAgentBytes bounds what is parsed of a user agent.
	maxAgentBytes = 512
)

// agent is what a user agent tells.
type agent struct {
	browser, browserVersion, os, osVersion, class string
}

// agents parses user agents and remembers them. It is used from one goroutine.
type agents map[string]agent

func (c agents) parse(text string) agent {
	if text == "" {
		return agent{}
	}
	if a, ok := c[text]; ok {
		return a
	}
	if len(c) >= maxAgents {
		clear(c)
	}
	text = strings.Clone(text) // it outlives the batch
	a := parseAgent(strings.ToValidUTF8(text[:min(len(text), maxAgentBytes)], ""))
	c[text] = a
	return a
}

// programs are parts of user agents that no person sits behind and the library takes for browsers or
// knows nothing of. Libraries that apps are built with (okhttp, CFNetwork, Dart) are not among them.
var programs = [...]string{"lighthouse", "phantomjs", "curl/", "wget/", "python-requests/", "python-urllib/", "aiohttp/",
	"go-http-client/", "scrapy/", "libwww-perl/", "puppeteer", "playwright"}

func isProgram(text string) bool {
	text = strings.ToLower(text)
	for _, part := range programs {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// parseAgent never fails: what the library does not know, and what it may stumble over, is nothing.
func parseAgent(text string) (a agent) {
	defer func() {
		if recover() != nil { // the text is a stranger's, the library is not ours, the event must go on
			a = agent{}
		}
	}()
	ua := useragent.Parse(text)
	a = agent{browser: ua.Name, browserVersion: ua.Version, os: ua.OS, osVersion: ua.OSVersion}
	switch {
	case ua.Bot, isProgram(text):
		a.class = "bot"
	case ua.Tablet:
		a.class = "tablet"
	case ua.Mobile:
		a.class = "mobile"
	case ua.Desktop:
		a.class = "desktop"
	}
	return a
}
