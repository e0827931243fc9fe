package sink

import "testing"

// Crawlers, headless browsers and scripts are told from what people use: device_class, and with it
// events.is_bot.
func TestBots(t *testing.T) {
	for text, want := range map[string]string{
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                          "bot",
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/103.0.5060.134 Safari/537.36": "bot",
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.1; +https://openai.com/gptbot":                                            "bot",
		"facebookexternalhit/1.1": "bot",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36":                                "bot",
		"Mozilla/5.0 (Linux; Android 11; moto g power) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/109.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse": "bot",
		"Mozilla/5.0 (Windows NT 6.1) PhantomJS/2.1.1 Safari/538.1":                                                                                    "bot",
		"curl/8.4.0":                          "bot",
		"python-requests/2.31.0":              "bot",
		"Go-http-client/1.1":                  "bot",
		"okhttp/4.9.3":                        "",
		"Shop/7 CFNetwork/1474 Darwin/23.0.0": "",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36":                         "desktop",
		"Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36":                 "mobile",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1": "mobile",
		"": "",
	} {
		if got := (agents{}).parse(text).class; got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
