// Types of window.keystone, for pages written in TypeScript: docs/tracker.md tells what each call does.

export type Json = string | number | boolean | null | undefined | Json[] | { [name: string]: Json };

/** What became of a call's event. A promise of the tracker is never rejected. */
export interface Result {
  /** The server has made the event durable. */
  ok: boolean;
  message_id?: string;
  /** HTTP status of the answer that decided. */
  status?: number;
  /** Why not ok: "invalid", "too_large", "overflow", "consent", "moved" (to another tab) or "http_400" and so on. */
  reason?: string;
}

/** Who the visitor is: an e-mail address, a phone number or an id of yours, or several at once by kind. */
export type Identity = string | number | { [kind: string]: string | number };

export type Consent = "granted" | "denied" | "pending";

/** An event as it goes over the wire. */
export interface KeystoneEvent {
  message_id: string;
  anonymous_id: string;
  event_type: "identify" | "track" | "page";
  timestamp: string;
  event_name?: string;
  identity?: Identity;
  payload?: { [name: string]: Json };
  context: { [name: string]: Json };
}

/** What the tracker counts, on this device since it first ran here. It goes along as context.tracker. */
export interface Counters {
  queued: number;
  sent: number;
  retried: number;
  dropped: { [reason: string]: number };
  /** Where pending events are: "memory" means that a reload loses them. */
  storage: "local" | "memory";
}

export interface Listeners {
  queued: KeystoneEvent;
  sent: Result;
  dropped: Result;
  retry: { message_id: string; status: number; wait_ms: number };
  consent: Consent;
}

export interface Keystone {
  track(name: string, properties?: { [name: string]: Json } | null): Promise<Result>;
  page(name?: string | null, properties?: { [name: string]: Json } | null): Promise<Result>;
  identify(identity?: Identity | null, traits?: { [name: string]: Json } | null): Promise<Result>;
  /** Forgets who the visitor is: a new anonymous id, no identity, a new session. */
  reset(): Promise<Result>;
  anonymousId(): string;
  /** Tries at once, without waiting for the back-off; settles when all that is pending now has been answered. */
  flush(): Promise<Result[]>;
  consent(state: Consent): Promise<Result>;
  /** Answers a function that removes the listener. */
  on<K extends keyof Listeners>(event: K, listener: (detail: Listeners[K]) => void): () => void;
  counters(): Counters;
  /** The stub's form of a call: ["track", "Signed Up"], or a function that gets the tracker. */
  push(...calls: Call[]): number;
}

export type Call =
  | ["track", string, ({ [name: string]: Json } | null)?]
  | ["page", (string | null)?, ({ [name: string]: Json } | null)?]
  | ["identify", (Identity | null)?, ({ [name: string]: Json } | null)?]
  | ["reset"]
  | ["flush"]
  | ["consent", Consent]
  | ["on", keyof Listeners, (detail: any) => void]
  | ((keystone: Keystone) => void);

declare global {
  interface Window {
    /** An array until the script has loaded: push works on both. */
    keystone: Keystone;
    /** The events that wait for the server's answer, oldest first: a copy. */
    readonly keystoneData: KeystoneEvent[];
  }
}
