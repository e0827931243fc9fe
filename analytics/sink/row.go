package sink

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/sink/money"
)

// The text columns of events, by their place in row.text.
const (
	colMessageID = iota
	colEventType
	colEventName
	colAnonymousID
	colIdentity
	colPayload
	colContext
	colExtra
	colURL
	colHost
	colPath
	colPageTitle
	colReferrer
	colReferringDomain
	colUTMSource
	colUTMMedium
	colUTMCampaign
	colUTMTerm
	colUTMContent
	colGclid
	colGbraid
	colWbraid
	colFbclid
	colMsclkid
	colTtclid
	colUserAgent
	colBrowser
	colBrowserVersion
	colOS
	colOSVersion
	colDeviceClass
	colLocale
	colIP
	colOrderID
	colCurrency
	colLibraryName
	colLibraryVersion
	colKeyID
	colRequestID
	colJobID
	numTexts
)

var textNames = [numTexts]string{
	colMessageID: "message_id", colEventType: "event_type", colEventName: "event_name", colAnonymousID: "anonymous_id",
	colIdentity: "identity", colPayload: "payload", colContext: "context", colExtra: "extra",
	colURL: "url", colHost: "host", colPath: "path", colPageTitle: "page_title", colReferrer: "referrer",
	colReferringDomain: "referring_domain", colUTMSource: "utm_source", colUTMMedium: "utm_medium",
	colUTMCampaign: "utm_campaign", colUTMTerm: "utm_term", colUTMContent: "utm_content", colGclid: "gclid", colGbraid: "gbraid",
	colWbraid: "wbraid", colFbclid: "fbclid", colMsclkid: "msclkid", colTtclid: "ttclid", colUserAgent: "user_agent",
	colBrowser: "browser", colBrowserVersion: "browser_version", colOS: "os", colOSVersion: "os_version",
	colDeviceClass: "device_class", colLocale: "locale", colIP: "ip", colOrderID: "order_id", colCurrency: "currency",
	colLibraryName: "library_name", colLibraryVersion: "library_version", colKeyID: "key_id", colRequestID: "request_id",
	colJobID: "job_id",
}

// row is one row of events. Its texts live as long as the batch it was decoded for.
type row struct {
	tenant       uuid.UUID
	profileNode  uuid.UUID
	identityNode uuid.UUID
	timestamp    time.Time
	receivedAt   time.Time
	offset       int64
	revenue      money.Amount
	hasRevenue   bool
	products     []string // each once; the slice is the decoder's
	text         [numTexts]string
}

// eventColumns are rows for events.
type eventColumns struct {
	rowset
	placeColumns
	tenant, profileNode, identityNode *uuidColumn
	timestamp                         *milliColumn
	receivedAt                        *microColumn
	revenue                           *amountColumn
	products                          *textListColumn
	text                              [numTexts]*textColumn
}

func newEventColumns() *eventColumns {
	c := &eventColumns{rowset: rowset{table: tableEvents}}
	s := &c.rowset
	c.placeColumns = placesOf(s)
	c.tenant = uuidOf(s, "tenant_id")
	c.profileNode = uuidOf(s, "profile_node")
	c.identityNode = uuidOf(s, "identity_node")
	c.timestamp = milliOf(s, "timestamp")
	c.receivedAt = microOf(s, "received_at")
	c.revenue = amountOf(s, "revenue")
	c.products = textListOf(s, "product_ids")
	for i, name := range textNames {
		c.text[i] = textOf(s, name)
	}
	return c
}

func (c *eventColumns) add(r *row, at tp) {
	c.begin()
	c.placeColumns.add(at, r.offset)
	c.tenant.add(r.tenant)
	c.profileNode.add(r.profileNode)
	c.identityNode.add(r.identityNode)
	c.timestamp.add(r.timestamp)
	c.receivedAt.add(r.receivedAt)
	c.revenue.add(r.revenue, r.hasRevenue)
	for _, id := range r.products {
		c.products.item(id)
	}
	c.products.endRow()
	for i := range r.text {
		c.text[i].add(r.text[i])
	}
}
