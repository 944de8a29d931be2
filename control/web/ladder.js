// The SIP ladder of the page: which messages went between sipcast and the other end, when, and what they said.
// It follows the call ID that the page shows and asks for the messages while the card is in view.
"use strict";

(() => {
  const el = (id) => document.getElementById(id);
  const ASK_MS = 1000;
  const SLOW_MS = 4000;

  const shown = { callId: null, count: 0, leftOut: 0, peer: null, timer: 0 };

  const callId = () => {
    const text = el("callId").textContent.trim();
    return /^[\u2013-]?$/.test(text) ? null : text;
  };

  function say(text) {
    el("ladderMessage").textContent = text;
    el("ladderMessage").hidden = text === "";
  }

  function clear(id) {
    shown.callId = id;
    shown.count = 0;
    shown.leftOut = 0;
    shown.peer = null;
    el("ladder").replaceChildren();
    el("ladderEnds").hidden = true;
    say(id ? "No message yet" : "The messages of the call appear here");
  }

  const seconds = (ms) => `${(ms / 1000).toFixed(3)} s`;

  /** 1xx waits, 2xx is good, 3xx to 6xx is bad; a request is neither. */
  function kind(startLine) {
    const status = /^SIP\/2\.0 ([1-6])/.exec(startLine)?.[1];
    if (!status) return "request";
    return { 1: "wait", 2: "good" }[status] ?? "bad";
  }

  /** What stands on the arrow: the method, or the status with its phrase, and the CSeq method of a response. */
  function title({ startLine, text }) {
    const status = /^SIP\/2\.0 (.*)$/.exec(startLine)?.[1];
    if (!status) return startLine.split(" ")[0];
    const method = /^CSeq:\s*\d+\s+(\S+)/im.exec(text ?? "")?.[1];
    return method ? `${status} (${method})` : status;
  }

  const describes = (text) => /^(?:content-type|c):\s*application\/sdp/im.test(text ?? "");

  function make(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function row(entry, gapMs) {
    const item = make("li", "ladder-entry");
    item.dataset.direction = entry.direction;
    item.dataset.kind = kind(entry.startLine);
    if (entry.repetition) item.dataset.repetition = "true";
    const time = make("span", "ladder-time", seconds(entry.atMs));
    time.title = gapMs === null ? "first message" : `${gapMs} ms after the one before`;
    const arrow = make(entry.repetition ? "div" : "details", "ladder-arrow");
    const head = make(entry.repetition ? "div" : "summary", "ladder-line");
    const way = entry.direction === "out" ? "from sipcast: " : "to sipcast: ";
    const hidden = make("span", "hidden", way);
    head.append(hidden, make("span", "ladder-title", title(entry)));
    if (describes(entry.text)) head.append(make("span", "ladder-mark", "SDP"));
    if (entry.repetition) head.append(make("span", "ladder-mark", "again"));
    arrow.append(head);
    if (!entry.repetition) {
      const ends = [entry.transport, entry.peer].filter(Boolean).join(" ");
      const toOrFrom = entry.direction === "out" ? "to" : "from";
      if (ends) arrow.append(make("p", "ladder-peer", `${toOrFrom} ${ends}`));
      arrow.append(make("pre", "ladder-text", `${entry.startLine}\n${(entry.text ?? "").replace(/\r/g, "")}`));
    }
    item.append(time, arrow);
    return item;
  }

  function show({ entries, leftOut }) {
    // Messages are only ever added at the end, until some have to be left out.
    if (leftOut !== shown.leftOut || entries.length < shown.count) clear(shown.callId);
    shown.leftOut = leftOut;
    const list = el("ladder");
    for (let at = shown.count; at < entries.length; at += 1) {
      list.append(row(entries[at], at > 0 ? entries[at].atMs - entries[at - 1].atMs : null));
    }
    shown.count = entries.length;
    el("ladderEnds").hidden = entries.length === 0;
    const peer = entries.find((entry) => entry.peer)?.peer ?? "SIP server";
    if (peer !== shown.peer) el("ladderPeer").textContent = peer;
    shown.peer = peer;
    if (entries.length === 0) say("No message yet");
    else say(leftOut ? `${leftOut} messages in between are not kept` : "");
  }

  async function ask() {
    clearTimeout(shown.timer);
    const id = callId();
    if (id !== shown.callId) clear(id);
    let wait = SLOW_MS;
    if (id && !document.hidden) {
      wait = ASK_MS;
      try {
        const response = await fetch(`/calls/${encodeURIComponent(id)}/ladder`);
        if (id === callId()) {
          if (response.ok) show(await response.json());
          // Gone after its grace time: what was shown stays.
          else wait = SLOW_MS;
        }
      } catch {
        wait = SLOW_MS;
      }
    }
    shown.timer = setTimeout(ask, wait);
  }

  el("ladderRepetitions").addEventListener("change", (event) => {
    el("ladder").dataset.repetitions = String(event.target.checked);
  });
  // A new call is shown at once, not at the next question.
  new MutationObserver(ask).observe(el("callId"), { childList: true, characterData: true, subtree: true });
  ask();
})();
