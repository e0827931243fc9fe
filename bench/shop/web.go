package shop

// host is the shop's own.
const host = "https://www.nordlicht.example"

// userAgents are those of real browsers and apps, some of phones.
var userAgents = [...]struct {
	text          string
	width, height string
	epochTime     bool // its library writes timestamps as milliseconds
}{
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", "1920", "1080", false},
	{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", "1536", "864", false},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", "1440", "900", false},
	{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", "1728", "1117", false},
	{"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0", "2560", "1440", false},
	{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1", "393", "852", false},
	{"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36", "412", "915", false},
	{"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "384", "832", false},
	{"Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0.7444.77 Mobile/15E148 Safari/604.1", "820", "1180", false},
	{"NordlichtApp/4.2.1 (Android 15; Pixel 8) okhttp/4.12.0", "412", "915", true},
}

var botAgents = [...]string{
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
	"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
	"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
	"Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
	"Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
	"python-requests/2.32.3",
}

// settings are the members of the context that a browser always sends: by user agent (people's,
// then crawlers') and country.
var settings = func() (all [len(userAgents) + len(botAgents)][len(countries)]string) {
	for a := range all {
		agent, text := userAgents[0], ""
		if a < len(userAgents) {
			agent, text = userAgents[a], userAgents[a].text
		} else {
			text = botAgents[a-len(userAgents)]
		}
		for c, country := range countries {
			all[a][c] = `"user_agent":"` + text + `","locale":"` + country.locale + `","timezone":"` + country.timezone +
				`","screen":{"width":` + agent.width + `,"height":` + agent.height + `}`
		}
	}
	return all
}()

// sources are where visits come from; the click id, if any, is added to the query.
var sources = [...]struct {
	weight                 int
	referrer, query, click string
}{
	{34, "", "", ""},
	{24, "https://www.google.com/", "", ""},
	{10, "https://www.google.com/", "utm_source=google&utm_medium=cpc&utm_campaign=autumn_shoes&utm_term=trail%20shoes&utm_content=ad_b", "gclid"},
	{8, "https://l.facebook.com/", "utm_source=facebook&utm_medium=paid_social&utm_campaign=retargeting", "fbclid"},
	{5, "https://www.instagram.com/", "utm_source=instagram&utm_medium=social&utm_campaign=stories", "fbclid"},
	{8, "", "utm_source=newsletter&utm_medium=email&utm_campaign=2026-10-weekly&utm_content=hero", ""},
	{4, "https://www.bing.com/search?q=gravel+bike", "", "msclkid"},
	{3, "https://www.tiktok.com/", "utm_source=tiktok&utm_medium=paid_social&utm_campaign=caf%C3%A9", "ttclid"},
	{4, "https://blog.outdoors.example/best-tents?ref=42", "utm_source=affiliate&utm_medium=referral&utm_campaign=outdoors", ""},
}

func (s *Stream) source() uint8 {
	n := s.rng.IntN(100)
	for i := range sources {
		if n -= sources[i].weight; n < 0 {
			return uint8(i)
		}
	}
	return 0
}

// searches are what people look for, as typed and as in a URL.
var searches = [...]struct{ text, escaped string }{
	{"trail shoes", "trail%20shoes"}, {"zelt 2 personen", "zelt%202%20personen"}, {"café crème", "caf%C3%A9%20cr%C3%A8me"},
	{"茶", "%E8%8C%B6"}, {"rękawiczki", "r%C4%99kawiczki"}, {"27\\\" tyre", "27%22%20tyre"}, {"🚲", "%F0%9F%9A%B2"}, {"a&b=c", "a%26b%3Dc"},
}

// place is a page of the shop.
type place uint8

const (
	nowhere place = iota
	homePage
	categoryPage
	productPage
	searchPage
	storyPage
	accountPage
	cartPage
	checkoutPage
	thanksPage
)

var placeNames = [...]string{"", "Home", "Category", "Product", "Search", "Story", "Account", "Cart", "Checkout", "Order Confirmation"}

// spot is a place with what is shown there: a product's or a search's number.
type spot struct {
	place place
	what  uint16
}

// appendPath writes a spot's path, without the query.
func appendPath(dst []byte, at spot, language string) []byte {
	dst = append(dst, '/')
	dst = append(dst, language...)
	switch at.place {
	case categoryPage:
		dst = append(dst, "/c/"...)
		return append(dst, catalogue[at.what].category...)
	case productPage:
		dst = append(dst, "/p/"...)
		return append(dst, catalogue[at.what].slug...)
	case searchPage:
		return append(dst, "/search"...)
	case storyPage:
		dst = append(dst, "/stories/"...)
		return append(dst, catalogue[at.what].category...)
	case accountPage:
		return append(dst, "/account"...)
	case cartPage:
		return append(dst, "/cart"...)
	case checkoutPage:
		return append(dst, "/checkout"...)
	case thanksPage:
		return append(dst, "/checkout/thanks"...)
	}
	return append(dst, '/')
}

func appendTitle(dst []byte, at spot) []byte {
	switch at.place {
	case categoryPage, storyPage:
		dst = append(dst, catalogue[at.what].category...)
	case productPage:
		dst = append(dst, catalogue[at.what].name...)
	default:
		dst = append(dst, placeNames[at.place]...)
	}
	return append(dst, " · Nordlicht"...)
}
