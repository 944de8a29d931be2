// The page of sipcast: fills the form, orders the call over the REST API, shows how it goes, plays what is published.
"use strict";

(() => {
  const el = (id) => document.getElementById(id);
  const TEXTS = ["sipLogin", "sipAuthenticationName", "sipPassword", "sipDomain", "sipPort", "sipOutboundProxy",
    "rtmpUrl", "rtmpStream", "callee"];
  const SWITCHES = ["sipRegisterRequired", "hasAudio", "hasVideo"];
  const REQUIRED = ["sipLogin", "sipDomain", "rtmpUrl", "rtmpStream", "callee"];
  const NEVER_STORED = "sipPassword";
  const STORE = "sipcast.form";

  // Words of the API and the words that this page shows for them.
  const CALL_WORDS = {
    NEW: ["Pending", "wait"], PENDING: ["Pending", "wait"], TRYING: ["Trying", "wait"], RING: ["Ringing", "wait"],
    RING_MEDIA: ["EarlyMedia", "wait"], SESSION_PROGRESS: ["Progress", "wait"],
    ESTABLISHED: ["Established", "good"], HOLD: ["OnHold", "wait"],
    FINISH: ["Finished", "idle"], BUSY: ["Busy", "bad"], FAILED: ["Failed", "bad"],
  };
  const STREAM_WORDS = {
    NEW: ["Pending", "wait"], PENDING: ["Pending", "wait"], PUBLISHING: ["Started", "good"],
    FAILED: ["Failed", "bad"], UNPUBLISHED: ["StreamNotFound", "idle"], STOPPED: ["StreamNotFound", "idle"],
  };
  const FINAL = ["FINISH", "BUSY", "FAILED"];

  let config = { originRtmpUrl: null, streamPrefix: "rtmp_", defaults: null };

  // ---- REST ----

  /** Posts `body`; gives the parsed answer or null when it is empty; throws what went wrong, readable. */
  async function rest(path, body) {
    let response;
    try {
      response = await fetch(`/rest-api/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch {
      throw { status: 0, field: null, problem: "sipcast cannot be reached", expected: null };
    }
    const text = await response.text();
    let answer = null;
    try {
      answer = text ? JSON.parse(text) : null;
    } catch {
      answer = null;
    }
    if (response.ok) return answer;
    throw {
      status: response.status,
      field: answer?.field ?? null,
      problem: answer?.problem ?? `sipcast answered with status ${response.status}`,
      expected: answer?.expected ?? null,
    };
  }

  // ---- Form: values, memory, errors ----

  const values = () => {
    const form = {};
    for (const id of TEXTS) form[id] = id === NEVER_STORED ? el(id).value : el(id).value.trim();
    for (const id of SWITCHES) form[id] = el(id).checked;
    return form;
  };

  function fill(form) {
    for (const id of TEXTS) if (form[id] !== undefined && form[id] !== null) el(id).value = String(form[id]);
    for (const id of SWITCHES) if (form[id] !== undefined && form[id] !== null) el(id).checked = String(form[id]) === "true";
  }

  // Remembered values count only as long as sipcast's own defaults stay as they were: a new demo has new ports.
  const fingerprint = () => JSON.stringify(config.defaults);

  function remember() {
    const { [NEVER_STORED]: _, ...form } = values();
    form.rtmpUrl = withoutCredentials(form.rtmpUrl);
    try {
      localStorage.setItem(STORE, JSON.stringify({ defaults: withoutPassword(), form }));
    } catch {
      // Storage may be full or forbidden: then nothing is remembered.
    }
  }

  const withoutPassword = () => fingerprint().replace(/"sipPassword":"(?:[^"\\]|\\.)*",?/, "");

  function recall() {
    try {
      const stored = JSON.parse(localStorage.getItem(STORE));
      if (stored && stored.defaults === withoutPassword()) fill(stored.form);
    } catch {
      // Nothing usable is stored.
    }
  }

  function clearErrors() {
    for (const input of document.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
    }
    for (const error of document.querySelectorAll(".field-error")) error.remove();
    el("formMessage").hidden = true;
  }

  function showError({ field, problem, expected }) {
    const hint = expected ? ` Expected: ${expected}.` : "";
    const input = field && el(field);
    if (!input || input.tagName !== "INPUT") {
      el("formMessage").textContent = `${sentence(field ? `${field} ${problem}` : problem)}${hint}`;
      el("formMessage").hidden = false;
      return;
    }
    const error = document.createElement("p");
    error.className = "field-error";
    error.id = `${field}-error`;
    error.textContent = `${sentence(problem)}${hint}`;
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", error.id);
    const beside = input.closest(".joined") ?? (input.type === "checkbox" ? input.closest(".checks").lastElementChild : input);
    beside.after(error);
    input.focus();
  }

  const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

  // ---- Call ----

  const call = { id: null, live: false, established: false, timer: 0 };

  function show(id, [word, kind]) {
    const shown = el(id);
    // Only a change is announced to screen readers.
    if (shown.textContent !== word) shown.textContent = word;
    shown.dataset.kind = kind;
  }

  function setLive(live) {
    call.live = live;
    // A button that is switched off loses the focus: hand it to the one that takes its place.
    const [on, off] = live ? ["hangupButton", "callButton"] : ["callButton", "hangupButton"];
    const focused = document.activeElement === el(off);
    el(on).disabled = false;
    el(off).disabled = true;
    if (focused) el(on).focus();
    for (const part of [el("dtmf"), el("dtmfButton"), ...el("keypad").children]) part.disabled = !live;
  }

  /** Four groups of letters and digits, as the API's clients make call IDs. */
  function newCallId() {
    const letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    const random = crypto.getRandomValues(new Uint8Array(16));
    const text = Array.from(random, (byte) => letters[byte % letters.length]).join("");
    return text.match(/.{4}/g).join("-");
  }

  async function startCall(event) {
    event.preventDefault();
    if (call.live) return;
    clearErrors();
    const form = values();
    const missing = REQUIRED.find((id) => form[id] === "");
    if (missing) return showError({ field: missing, problem: "is missing", expected: null });
    remember();
    const body = { callId: newCallId(), appKey: "defaultApp" };
    for (const [field, value] of Object.entries(form)) if (value !== "") body[field] = value;
    call.id = body.callId;
    setLive(true);
    show("callStatus", CALL_WORDS.PENDING);
    show("streamStatus", STREAM_WORDS.PENDING);
    el("callId").textContent = body.callId;
    el("rtmpUrlShown").textContent = shownUrl(form);
    try {
      await rest("call/startup", body);
      keep(body.callId);
      poll();
    } catch (error) {
      over(["Failed", "bad"]);
      showError(error);
    }
  }

  const withoutCredentials = (url) => url.replace(/^(rtmp:\/\/)[^/]*@/i, "$1");

  /** The URL as published, without credentials. */
  const shownUrl = ({ rtmpUrl, rtmpStream }) =>
    `${withoutCredentials(rtmpUrl).replace(/\?.*$/, "").replace(/\/+$/, "")}/${published(rtmpStream)}`;

  const published = (name) => {
    const prefix = config.streamPrefix;
    return name.startsWith(prefix) && name.length > prefix.length ? name : prefix + name;
  };

  /** Keeps the call's ID while this tab lives, so that a reload of the page does not leave the call unattended. */
  function keep(callId) {
    try {
      if (callId) sessionStorage.setItem(STORE, callId);
      else sessionStorage.removeItem(STORE);
    } catch {
      // Storage may be forbidden: then a reload loses sight of the call.
    }
  }

  async function takeUpAgain() {
    let callId = null;
    try {
      callId = sessionStorage.getItem(STORE);
      if (!callId) return;
      const [found] = await rest("call/find", { callId });
      if (FINAL.includes(found.status) || call.live) return;
      call.id = callId;
      el("callId").textContent = callId;
      el("rtmpUrlShown").textContent = shownUrl({ rtmpUrl: found.rtmpUrl ?? "", rtmpStream: found.rtmpStream ?? "" });
      setLive(true);
      poll();
    } catch {
      // The call is gone.
    }
  }

  async function poll() {
    clearTimeout(call.timer);
    const id = call.id;
    if (!call.live) return;
    try {
      const [found] = await rest("call/find", { callId: id });
      if (id !== call.id || !call.live) return;
      show("callStatus", CALL_WORDS[found.status] ?? [found.status, "wait"]);
      show("streamStatus", STREAM_WORDS[found.rtmpStreamStatus] ?? STREAM_WORDS.PENDING);
      call.established = found.status === "ESTABLISHED" || found.status === "HOLD";
      if (FINAL.includes(found.status)) {
        over(CALL_WORDS[found.status]);
        if (found.status !== "FINISH") {
          const code = found.sipStatus ? `, SIP status ${found.sipStatus}` : "";
          const reason = found.custom?.reason ? `: ${found.custom.reason}` : "";
          showError({ field: null, problem: `the call ended${reason}${code}`, expected: null });
        }
        return;
      }
    } catch (error) {
      if (id !== call.id || !call.live) return;
      if (error.status === 404) return over(CALL_WORDS.FINISH);
      // sipcast may be restarting or the network away: keep asking.
    }
    call.timer = setTimeout(poll, call.established ? 1000 : 250);
  }

  function over(words) {
    clearTimeout(call.timer);
    setLive(false);
    keep(null);
    call.established = false;
    show("callStatus", words);
    show("streamStatus", ["StreamNotFound", words[1] === "bad" ? "bad" : "idle"]);
  }

  async function hangUp() {
    el("hangupButton").disabled = true;
    try {
      await rest("call/terminate", { callId: call.id });
      poll();
    } catch (error) {
      if (error.status === 404) return over(CALL_WORDS.FINISH);
      el("hangupButton").disabled = !call.live;
      showError(error);
    }
  }

  async function sendDigits(digits) {
    if (!call.live || !digits) return;
    clearErrors();
    try {
      await rest("call/send_dtmf", { callId: call.id, dtmf: digits, type: "RFC2833" });
      el("dtmf").value = "";
    } catch (error) {
      showError(error.status === 404 ? { ...error, field: null } : error);
    }
  }

  // ---- Player ----

  const player = { wanted: false, engine: null, retry: 0, watch: 0, failures: 0, overWebSocket: false };

  const LIVE = {
    enableWorker: false,
    enableStashBuffer: false,
    lazyLoad: false,
    // A little late: play faster. Far too late, after a pause of the machine: jump.
    liveSync: true,
    liveSyncMaxLatency: 1.0,
    liveSyncTargetLatency: 0.5,
    liveSyncPlaybackRate: 1.1,
    liveBufferLatencyChasing: true,
    liveBufferLatencyMaxLatency: 3.0,
    liveBufferLatencyMinRemain: 0.5,
    autoCleanupSourceBuffer: true,
    autoCleanupMaxBackwardDuration: 30,
    autoCleanupMinBackwardDuration: 15,
  };
  const RETRY_MS = 300;
  const RETRY_SLOW_MS = 1000;
  const STALL_MS = 8000;

  /** Path of the FLV on this server, or null when the target is another one. */
  function flvPath() {
    const parse = (text) => /^rtmp:\/\/(?:[^/@]*@)?(\[[^\]]+\]|[^/:]+)(?::(\d+))?\/([^?]+)/i.exec(text ?? "");
    const target = parse(el("rtmpUrl").value.trim());
    const origin = parse(config.originRtmpUrl);
    const stream = el("rtmpStream").value.trim().replace(/\?.*$/, "");
    if (!target || !origin || !stream) return null;
    const loopback = (host) => ["localhost", "127.0.0.1", "[::1]"].includes(host.toLowerCase());
    const own = [origin[1].toLowerCase(), location.hostname.toLowerCase()];
    const sameHost = own.includes(target[1].toLowerCase()) || (loopback(target[1]) && own.some(loopback));
    if (!sameHost || (target[2] ?? "1935") !== (origin[2] ?? "1935")) return null;
    const app = target[3].replace(/\/+$/, "").split("/").map(encodeURIComponent).join("/");
    return `/${app}/${encodeURIComponent(published(stream))}.flv`;
  }

  function say(text) {
    if (el("playerMessage").textContent !== text) el("playerMessage").textContent = text;
  }

  function play() {
    if (!flvPath()) {
      const expected = config.originRtmpUrl ? `an RTMP URL at ${config.originRtmpUrl}` : "an embedded RTMP server";
      say(`The player shows streams that are published to this sipcast: ${expected} and a stream name.`);
      return;
    }
    if (!window.mpegts?.isSupported()) return say("This browser cannot play live streams (no Media Source Extensions).");
    // Waiting for a stream is no error to tell the console of.
    mpegts.LoggingControl.enableAll = false;
    player.wanted = true;
    player.failures = 0;
    player.overWebSocket = false;
    el("playButton").disabled = true;
    el("stopButton").disabled = false;
    // A press on Play allows sound, as long as it reaches the element at once.
    el("video").muted = false;
    say("Waiting for the stream …");
    open();
  }

  function open() {
    close();
    if (!player.wanted) return;
    const path = flvPath();
    if (!path) return stop();
    // HTTP-FLV first: it says 404 while the stream is not live, where a WebSocket only closes. WebSocket-FLV is for
    // networks whose proxies hold back endless answers.
    const url = new URL(path, location.href);
    if (player.overWebSocket) url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const engine = mpegts.createPlayer({ type: "flv", isLive: true, url: url.href }, LIVE);
    player.engine = engine;
    const current = (step) => (...args) => { if (player.engine === engine) step(...args); };
    engine.on(mpegts.Events.ERROR, current((_, detail, info) => {
      // Any answer of the server, even 404, shows that HTTP works.
      const answered = detail === mpegts.ErrorDetails.NETWORK_STATUS_CODE_INVALID && info?.code > 0;
      player.failures = answered ? 0 : player.failures + 1;
      if (player.failures >= 2) {
        player.overWebSocket = !player.overWebSocket;
        player.failures = 0;
      }
      again();
    }));
    engine.on(mpegts.Events.LOADING_COMPLETE, current(again));
    engine.attachMediaElement(el("video"));
    engine.load();
    start(engine);
    watch();
  }

  async function start(engine) {
    const video = el("video");
    try {
      await engine.play();
    } catch (error) {
      if (player.engine !== engine || error?.name !== "NotAllowedError") return;
      // The browser wants a gesture for sound: begin without, and offer it.
      video.muted = true;
      showSound();
      try {
        await engine.play();
      } catch {
        // The error event or the watch below tries again.
      }
    }
  }

  /** Opens anew when the picture stands still: a connection may die without a word. */
  function watch() {
    let seen = el("video").currentTime;
    let since = performance.now();
    clearInterval(player.watch);
    player.watch = setInterval(() => {
      const now = el("video").currentTime;
      if (now !== seen || document.hidden) {
        seen = now;
        since = performance.now();
      } else if (performance.now() - since > STALL_MS) {
        again();
      }
    }, 500);
  }

  function again() {
    close();
    if (!player.wanted) return;
    say("Waiting for the stream …");
    player.retry = setTimeout(open, call.live ? RETRY_MS : RETRY_SLOW_MS);
  }

  function close() {
    clearTimeout(player.retry);
    clearInterval(player.watch);
    const engine = player.engine;
    player.engine = null;
    if (!engine) return;
    try {
      engine.destroy();
    } catch {
      // Half-open engines may complain; they are gone all the same.
    }
  }

  function stop() {
    player.wanted = false;
    close();
    el("video").removeAttribute("src");
    el("video").load();
    el("playButton").disabled = false;
    el("stopButton").disabled = true;
    el("soundButton").hidden = true;
    say("Press Play to watch the published stream");
  }

  function showSound() {
    const muted = el("video").muted;
    el("soundButton").hidden = !player.wanted;
    el("soundButton").setAttribute("aria-pressed", String(!muted));
    el("soundButton").textContent = muted ? "Sound on" : "Sound off";
  }

  // ---- Wiring ----

  el("form").addEventListener("submit", startCall);
  el("form").addEventListener("change", remember);
  el("hangupButton").addEventListener("click", hangUp);
  el("dtmfButton").addEventListener("click", () => sendDigits(el("dtmf").value.trim()));
  el("dtmf").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    // Enter in this field sends digits; it must not order a call.
    event.preventDefault();
    sendDigits(el("dtmf").value.trim());
  });
  el("keypad").addEventListener("click", (event) => {
    const digit = event.target.closest("button")?.dataset.digit;
    if (digit) sendDigits(digit);
  });
  el("playButton").addEventListener("click", play);
  el("stopButton").addEventListener("click", stop);
  el("soundButton").addEventListener("click", () => {
    el("video").muted = !el("video").muted;
    showSound();
  });
  el("video").addEventListener("playing", () => {
    say("");
    showSound();
  });
  el("video").addEventListener("waiting", () => {
    if (player.wanted) say("Waiting for the stream …");
  });
  el("video").addEventListener("timeupdate", () => {
    if (player.wanted && !el("video").paused) say("");
  });

  (async () => {
    try {
      config = await (await fetch("/page-config.json")).json();
    } catch {
      // The built-in configuration stands.
    }
    if (config.defaults) fill(config.defaults);
    else if (config.originRtmpUrl) el("rtmpUrl").value = config.originRtmpUrl;
    recall();
    await takeUpAgain();
    document.documentElement.dataset.ready = "true";
  })();
})();
