"use strict";
// Everything that models, captions and file names say reaches the page as text nodes and attributes, never as markup.
const raylabel = (() => {
  const meta = window.raylabelMeta;
  const TILE = { width: 208, height: 214 };
  const PER_PAGE = 10000; // browsers draw no element of more than some 17 million pixels
  const BAD = ["failed", "unreadable", "refused"];
  const SIZES = { s: "small", m: "medium", l: "large" };
  const SORTS = {
    apart: ["farthest apart first", (a, b) => b.w - a.w || a.n - b.n],
    input: ["as in the input", (a, b) => a.n - b.n],
    worst: ["worst first", (a, b) => badness(b) - badness(a) || a.n - b.n],
    flags: ["most flags first", (a, b) => b.f.length - a.f.length || a.n - b.n],
    score: ["lowest score first", (a, b) => lowest(a) - lowest(b) || a.n - b.n],
    changes: ["most changes of the double check first", (a, b) => b.x - a.x || a.n - b.n],
    most: ["most boxes first", (a, b) => b.b - a.b || a.n - b.n],
    fewest: ["fewest boxes first", (a, b) => a.b - b.b || a.n - b.n],
  };
  const index = [];
  const chunks = { records: new Map(), replies: new Map() };
  let shown = [];
  let current = 0;
  let opened = null;
  let page = 0;
  let asked = {};
  let usual = "input"; // farthest apart first, where two results are shown together

  const $ = (id) => document.getElementById(id);
  const lowest = (r) => (r.c.length ? Math.min(...r.c) : 2);
  function badness(r) {
    const failed = BAD.includes(r.o) ? 10 - BAD.indexOf(r.o) : r.o === "unfinished" ? 5 : 0;
    return failed * 1000 + r.f.length * 10 + r.x * 6 + (r.c.length ? (1 - lowest(r)) * 30 : 0);
  }
  // Control characters are made visible: a terminal's escape sequence is shown as what it is.
  const visible = (text) =>
    String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (c) =>
      c.charCodeAt(0) < 32 ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : "\ufffd");
  function el(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
      else if (name === "style") Object.assign(made.style, value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined) made.append(child instanceof Node ? child : document.createTextNode(visible(child)));
    }
    return made;
  }
  const said = (text, attributes) => el("bdi", { dir: "auto", ...attributes }, text);
  function svg(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // --- data: file:// allows no fetch, so chunks are scripts -----------------------------------------------------
  function load(path) {
    return new Promise((done, failed) => {
      const script = el("script", { src: path });
      script.onload = () => { script.remove(); done(); };
      script.onerror = () => { script.remove(); failed(new Error(`${path} is missing`)); };
      document.head.append(script);
    });
  }
  async function chunk(kind, n) {
    const number = Math.floor(n / meta.per_chunk);
    if (!chunks[kind].has(number)) {
      await load(`data/${kind}-${String(number).padStart(5, "0")}.js`);
      while (chunks[kind].size > 12) chunks[kind].delete(chunks[kind].keys().next().value);
    }
    return chunks[kind].get(number)[n % meta.per_chunk];
  }

  // --- judgements -----------------------------------------------------------------------------------------------
  const STORE = `raylabel review ${meta.id}`;
  let judgements = {};
  try { judgements = JSON.parse(localStorage.getItem(STORE)) || {}; } catch { judgements = {}; }
  function keep() {
    try { localStorage.setItem(STORE, JSON.stringify(judgements)); } catch { /* some browsers have none for file:// */ }
    const count = Object.keys(judgements).length;
    $("download").disabled = $("forget").disabled = !count;
    $("download").textContent = count ? `Download judgements.jsonl (${count})` : "Download judgements.jsonl";
  }
  const keyOf = (record, box) => (box ? `${record.i} ${box.id}` : record.i);
  function verdictOn(record, box) {
    const own = judgements[keyOf(record, box)];
    return own || (box ? box.judged : record.j) || { verdict: "none", note: "" };
  }
  function judge(record, change, box) {
    if (!record.l) return;
    const before = verdictOn(record, box);
    const line = { record_id: record.i };
    if (box) { line.bbox_id = box.id; line.bbox = box.box; } else line.labels = record.l;
    judgements[keyOf(record, box)] = { ...line, verdict: before.verdict, note: before.note || "", ...change, by: "person" };
    keep();
    paintGrid(true);
    if (opened && opened.i === record.i) paintVerdicts();
  }
  function download() {
    const text = Object.values(judgements).map((line) => JSON.stringify(line) + "\n").join("");
    const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
    const link = el("a", { href: url, download: "judgements.jsonl" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  // --- filters --------------------------------------------------------------------------------------------------
  const LISTS = {
    difference: ["Difference", (r) => r.d || []],
    outcome: ["Outcome", (r) => [r.o]],
    step: ["Step", (r) => Object.entries(r.s).map(([step, outcome]) => `${step}: ${outcome}`)],
    flag: ["Flag", (r) => r.f],
    rule: ["Rule", (r) => r.r],
    size: ["Size of boxes", (r) => [...r.z].map((z) => SIZES[z])],
    model: ["Model", (r) => r.k],
    judged: ["Judged", (r) => [verdictOn(r).verdict === "none" ? "not judged" : verdictOn(r).verdict]],
  };
  const RANGES = { score: ["Score of a box", 0.01], boxes: ["Number of boxes", 1] };
  function build() {
    const form = $("filters");
    form.addEventListener("submit", (event) => event.preventDefault());
    const sort = el("select", { id: "sort", on: { change: changed } });
    for (const [name, [words]] of Object.entries(SORTS)) if (name !== "apart" || usual === name) sort.append(el("option", { value: name }, words));
    form.append(el("fieldset", {}, el("legend", {}, "Order"), el("label", { for: "sort" }, "Sorted"), sort));
    form.append(el("fieldset", {}, el("legend", {}, "Phrase"), el("label", { for: "text" }, "Holds this text"),
      el("input", { type: "search", id: "text", on: { input: changed } })));
    for (const [name, [title, step]] of Object.entries(RANGES)) {
      const bound = (which) => el("label", {}, el("input", { type: "number", id: `${name}-${which}`, step, min: 0, "aria-label": `${title}, ${which}`, on: { input: changed } }));
      form.append(el("fieldset", {}, el("legend", {}, title), el("div", { class: "range" }, bound("from"), bound("to"))));
    }
    for (const [name, [title, values]] of Object.entries(LISTS)) {
      const counts = new Map();
      for (const r of index) for (const value of values(r)) counts.set(value, (counts.get(value) || 0) + 1);
      if (name === "judged") for (const word of ["not judged", "accept", "reject", "flag"]) if (!counts.has(word)) counts.set(word, "");
      if (!counts.size) continue;
      const list = el("div", { class: "many" });
      for (const [value, count] of [...counts].sort((a, b) => b[1] - a[1])) {
        list.append(el("label", {}, el("input", { type: "checkbox", name, value, on: { change: changed } }), said(value), el("span", { class: "n" }, count)));
      }
      form.append(el("fieldset", {}, el("legend", {}, title), list));
    }
    form.append(el("button", { type: "button", on: { click: () => { go({ record: asked.record }); } } }, "Show all"));
  }
  function read() {
    const found = new URLSearchParams(location.hash.slice(1));
    const wanted = {};
    for (const [name, value] of found) wanted[name] = name in LISTS ? value.split("|").filter(Boolean) : value;
    return wanted;
  }
  function go(wanted, replace) {
    const hash = `#${new URLSearchParams(flat(wanted))}`;
    if (replace) history.replaceState(null, "", hash); else location.hash = hash;
    follow();
  }
  function changed() {
    const wanted = { sort: $("sort").value === usual ? "" : $("sort").value, text: $("text").value };
    for (const name of Object.keys(RANGES)) {
      const [from, to] = [$(`${name}-from`).value, $(`${name}-to`).value];
      wanted[name] = from || to ? `${from}-${to}` : "";
    }
    for (const name of Object.keys(LISTS)) {
      wanted[name] = [...document.querySelectorAll(`#filters input[name="${name}"]:checked`)].map((box) => box.value);
    }
    go(wanted, true);
  }
  function show(wanted) {
    $("sort").value = wanted.sort in SORTS ? wanted.sort : usual;
    if ($("text").value !== (wanted.text || "")) $("text").value = wanted.text || "";
    for (const name of Object.keys(RANGES)) {
      const [from, to] = (wanted[name] || "-").split("-");
      $(`${name}-from`).value = from; $(`${name}-to`).value = to || "";
    }
    for (const box of document.querySelectorAll("#filters input[type=checkbox]")) {
      box.checked = (wanted[box.name] || []).includes(box.value);
    }
  }
  function within(range) {
    const [from, to] = range.split("-");
    return (value) => (from === "" || value >= Number(from)) && (!to || value <= Number(to));
  }
  function filtered(wanted) {
    const tests = [];
    for (const [name, [, values]] of Object.entries(LISTS)) {
      if (wanted[name] && wanted[name].length) tests.push((r) => values(r).some((value) => wanted[name].includes(value)));
    }
    if (wanted.score) { const fits = within(wanted.score); tests.push((r) => r.c.some(fits)); }
    if (wanted.boxes) { const fits = within(wanted.boxes); tests.push((r) => fits(r.b)); }
    if (wanted.text) { const text = wanted.text.toLowerCase(); tests.push((r) => r.p.some((phrase) => phrase.toLowerCase().includes(text))); }
    const order = SORTS[wanted.sort in SORTS ? wanted.sort : usual][1];
    return index.filter((r) => tests.every((test) => test(r))).sort(order);
  }
  function follow() {
    asked = read();
    const filters = JSON.stringify({ ...asked, record: "" });
    if (filters !== follow.last) {
      follow.last = filters;
      const at = shown[current];
      shown = filtered(asked);
      current = Math.max(0, shown.indexOf(at));
      page = Math.floor(current / PER_PAGE);
      show(asked);
      $("count").textContent = `${shown.length} of ${index.length} records`;
    }
    const wanted = asked.record ? index.find((r) => r.i === asked.record) : null;
    if (wanted) open(wanted); else close();
  }

  // --- the grid -------------------------------------------------------------------------------------------------
  const grid = $("grid");
  const columns = () => Math.max(1, Math.floor(grid.clientWidth / TILE.width));
  const tiles = new Map();
  function tile(at) {
    const r = shown[at];
    const verdict = verdictOn(r).verdict;
    const judged = verdict === "none" ? "" : ` · ${{ accept: "accepted", reject: "rejected", flag: "flagged" }[verdict]}`;
    const picture = r.t
      ? el("img", { src: r.t, alt: `Image ${visible(r.m)}`, loading: "lazy", decoding: "async", width: 192, height: 144 })
      : el("span", { class: "none" }, "no picture");
    const tone = BAD.includes(r.o) ? "bad" : "";
    const link = el("a", { href: `#${new URLSearchParams(flat({ ...asked, record: r.i }))}`, class: at === current ? "current" : null, "data-at": at, tabindex: at === current ? 0 : -1 },
      picture, said(r.m, { class: "name" }),
      el("span", { class: "what" }, el("span", { class: tone }, r.o), ` · ${r.b} ${r.b === 1 ? "box" : "boxes"}`,
        r.f.length ? ` · ${r.f.length} ${r.f.length === 1 ? "flag" : "flags"}` : "", r.x ? ` · ${r.x} changed` : ""),
      el("span", { class: `what ${verdict === "accept" ? "good" : verdict === "reject" ? "bad" : "warn"}` }, judged.slice(3)));
    return el("li", { "aria-setsize": shown.length, "aria-posinset": at + 1 }, link);
  }
  function flat(wanted) {
    const parts = {};
    for (const [name, value] of Object.entries(wanted)) { const text = Array.isArray(value) ? value.join("|") : value; if (text) parts[name] = text; }
    return parts;
  }
  function paintGrid(anew) {
    if (grid.hidden) { tiles.clear(); grid.replaceChildren(); return; }
    const across = columns();
    const first = page * PER_PAGE;
    const count = Math.min(PER_PAGE, shown.length - first);
    grid.style.height = `${Math.ceil(Math.max(0, count) / across) * TILE.height}px`;
    const focused = grid.contains(document.activeElement);
    if (anew) { tiles.clear(); grid.replaceChildren(); }
    const top = window.scrollY - grid.offsetTop;
    const from = Math.max(0, Math.floor(top / TILE.height) - 2) * across;
    const to = Math.min(count, (Math.ceil((top + window.innerHeight) / TILE.height) + 2) * across);
    for (const [at, made] of tiles) if (at < first + from || at >= first + to) { made.remove(); tiles.delete(at); }
    for (let place = from; place < to; place++) {
      const at = first + place;
      if (tiles.has(at)) continue;
      const made = tile(at);
      made.style.left = `${(place % across) * TILE.width}px`;
      made.style.top = `${Math.floor(place / across) * TILE.height}px`;
      tiles.set(at, made);
      grid.append(made);
    }
    const again = focused ? grid.querySelector(`a[data-at="${current}"]`) : null; // a new tile in place of that one
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    const pages = Math.ceil(shown.length / PER_PAGE);
    $("pages").hidden = pages < 2;
    if (pages > 1 && ($("pages").childElementCount !== pages || anew)) {
      $("pages").replaceChildren(...[...Array(pages).keys()].map((n) => el("button", { type: "button", "aria-pressed": String(n === page), on: { click: () => { page = n; current = n * PER_PAGE; window.scrollTo(0, 0); paintGrid(true); } } }, `${n * PER_PAGE + 1} to ${Math.min(shown.length, (n + 1) * PER_PAGE)}`)));
    }
  }
  function move(by, focus) {
    if (!shown.length) return;
    current = Math.min(shown.length - 1, Math.max(0, current + by));
    page = Math.floor(current / PER_PAGE);
    const row = Math.floor((current - page * PER_PAGE) / columns());
    const top = grid.offsetTop + row * TILE.height;
    if (top < window.scrollY) window.scrollTo(0, top - 8);
    if (top + TILE.height > window.scrollY + window.innerHeight) window.scrollTo(0, top + TILE.height - window.innerHeight + 8);
    paintGrid(true);
    const link = grid.querySelector(`a[data-at="${current}"]`);
    if (link && focus) link.focus({ preventScroll: true });
  }

  // --- a record -------------------------------------------------------------------------------------------------
  const article = $("record");
  let full = null;
  let scrolled = 0;
  async function open(r) {
    if (opened === r) return;
    if (!opened) scrolled = window.scrollY;
    opened = r;
    const at = shown.indexOf(r);
    if (at >= 0) current = at;
    grid.hidden = $("count").hidden = $("pages").hidden = true;
    paintGrid(true);
    article.hidden = false;
    article.replaceChildren(el("p", {}, "Loading ..."));
    try {
      const loaded = await chunk("records", r.n);
      if (opened === r) { full = loaded; paintRecord(r, loaded); }
    } catch (error) {
      article.replaceChildren(el("p", { class: "bad" }, error.message));
    }
  }
  function close() {
    if (!opened) { paintGrid(true); return; }
    opened = full = null;
    article.hidden = true;
    article.replaceChildren();
    grid.hidden = $("count").hidden = false;
    window.scrollTo(0, scrolled);
    move(0, true);
  }
  function step(by) {
    const at = shown.indexOf(opened) + by;
    if (at >= 0 && at < shown.length) go({ ...asked, record: shown[at].i }, true);
  }
  function light(number) {
    article.classList.toggle("on", number !== null);
    for (const one of article.querySelectorAll("[data-of]")) {
      one.classList.toggle("lit", number !== null && one.dataset.of.split(" ").includes(String(number)));
    }
  }
  const lighting = (number) => ({
    mouseenter: () => light(number), mouseleave: () => light(null), focusin: () => light(number), focusout: () => light(null),
  });
  function paintRecord(r, whole) {
    article.className = "";
    const heading = el("h2", { tabindex: -1 }, said(r.m), " · ", el("span", { class: BAD.includes(r.o) ? "bad" : "" }, r.o));
    const at = shown.indexOf(r);
    const bar = el("div", { class: "bar" },
      el("button", { type: "button", on: { click: () => go({ ...asked, record: "" }) } }, "All records"),
      el("button", { type: "button", disabled: at <= 0, on: { click: () => step(-1) } }, "Previous"),
      el("button", { type: "button", disabled: at < 0 || at >= shown.length - 1, on: { click: () => step(1) } }, "Next"),
      at >= 0 ? el("span", { class: "quiet" }, `${at + 1} of ${shown.length}`) : null,
      verdictButtons(r, null));
    const left = el("div", {}, picture(r, whole), caption(whole));
    const right = el("div", {}, el("h3", {}, "Phrases"), phrases(r, whole), note(r), stepsTable(whole), replies(r, whole), jsonLine(whole));
    article.replaceChildren(bar, heading, el("div", { class: "parts" }, left, right));
    paintBoxes(whole);
    paintVerdicts();
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
  function verdictButtons(r, box) {
    const about = box ? "this box" : "the record";
    const made = el("span", { class: "verdict", role: "group", "aria-label": `Verdict on ${about}` });
    if (!r.l) return made;
    for (const [verdict, word, sign] of [["accept", "Accept", "\u2713"], ["reject", "Reject", "\u2717"], ["flag", "Flag", "\u2691"]]) {
      const button = el("button", { type: "button", "data-verdict": verdict, "aria-label": `${word} ${about}`, title: `${word} ${about}`, on: { click: () => judge(r, { verdict: verdictOn(r, box).verdict === verdict ? "none" : verdict }, box) } }, box ? sign : word);
      if (box) button.dataset.box = box.id;
      made.append(button);
    }
    return made;
  }
  function paintVerdicts() {
    const boxes = new Map(full.phrases.flatMap((p) => p.boxes).map((box) => [box.id, box]));
    for (const button of article.querySelectorAll("button[data-verdict]")) {
      const box = button.dataset.box ? boxes.get(button.dataset.box) : null;
      button.setAttribute("aria-pressed", String(verdictOn(opened, box).verdict === button.dataset.verdict));
    }
  }
  function rectangle(box, inset, attributes) {
    const [x1, y1, x2, y2] = box;
    const by = Math.min(inset, (x2 - x1) / 3, (y2 - y1) / 3);
    return svg("rect", { x: x1 + by, y: y1 + by, width: Math.max(0, x2 - x1 - 2 * by), height: Math.max(0, y2 - y1 - 2 * by), ...attributes });
  }
  function picture(r, whole) {
    const figure = el("figure", { id: "picture" });
    if (!whole.image) {
      figure.append(el("p", { class: "bad" }, "The picture cannot be shown: ", said(whole.trouble)));
      return figure;
    }
    const size = { width: whole.width, height: whole.height };
    figure.append(el("img", { src: whole.image, alt: `Image ${visible(r.m)} with ${r.b} boxes`, ...size }));
    return figure;
  }
  function paintBoxes(whole) {
    const figure = $("picture");
    const image = figure && figure.querySelector("img");
    if (!image) return;
    for (const old of figure.querySelectorAll("svg, .tag")) old.remove();
    const [width, height] = [whole.width, whole.height];
    const step = (7 * width) / Math.max(1, image.clientWidth);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    figure.append(drawing);
    const [seen, corners] = [new Map(), new Map()]; // equal boxes are drawn inside each other, and tags of one corner side by side
    whole.phrases.forEach((phrase, number) => {
      for (const box of phrase.boxes) {
        const group = svg("g", { class: `of${box.rejected ? " rejected" : ""}`, "data-of": number });
        const same = box.side + box.box.map((v) => Math.round(v / step)).join();
        const turn = seen.get(same) || 0;
        seen.set(same, turn + 1);
        const corner = [box.box[0], box.box[1]].map((v) => Math.round(v / (3 * step))).join();
        const place = corners.get(corner) || 0;
        corners.set(corner, place + 1);
        const inset = turn * step;
        // The dashes of a second result let the line of the first be seen, where both have the box.
        if (!(box.side && box.dash)) group.append(rectangle(box.box, inset, { class: "halo" }));
        group.append(rectangle(box.box, inset, { class: "edge", stroke: box.color, "stroke-dasharray": box.dash }));
        const hit = rectangle(box.box, inset, { class: "hit" });
        hit.addEventListener("mouseenter", () => light(number));
        hit.addEventListener("mouseleave", () => light(null));
        group.append(hit);
        if (box.rejected) group.append(svg("line", { class: "strike", x1: box.box[0], y1: box.box[3], x2: box.box[2], y2: box.box[1] }));
        if (box.was) group.append(rectangle(box.was, 0, { class: "was", stroke: box.color }));
        if (box.proposed) group.append(rectangle(box.proposed, 0, { class: "proposed", stroke: box.color }));
        drawing.append(group);
        figure.append(el("span", { class: `tag of${box.rejected ? " rejected" : ""}`, "data-of": number, "aria-hidden": "true",
          style: { left: `calc(${(100 * box.box[0]) / width}% + ${place * (box.side ? 30 : 22)}px)`, top: `${(100 * box.box[1]) / height}%`, transform: box.box[1] > (18 * step) / 7 ? "translateY(-100%)" : "", background: box.color, color: box.ink } }, `${number + 1}${box.side.slice(0, 1).toUpperCase()}`));
      }
    });
  }
  function caption(whole) {
    const made = el("p", { class: "caption", dir: "auto" });
    const letters = Array.from(whole.caption); // spans count code points
    const cuts = new Set([0, letters.length]);
    for (const phrase of whole.phrases) if (phrase.span) { cuts.add(Math.min(phrase.span[0], letters.length)); cuts.add(Math.min(phrase.span[1], letters.length)); }
    const places = [...cuts].sort((a, b) => a - b);
    for (let n = 0; n + 1 < places.length; n++) {
      const text = visible(letters.slice(places[n], places[n + 1]).join(""));
      const of = whole.phrases.map((phrase, number) => [phrase, number]).filter(([phrase]) => phrase.span && phrase.span[0] <= places[n] && places[n + 1] <= phrase.span[1]);
      if (!of.length) { made.append(text); continue; }
      // The innermost phrase is what pointing at the words means; all of them are underlined.
      const [, number] = of.reduce((a, b) => (b[0].span[1] - b[0].span[0] < a[0].span[1] - a[0].span[0] ? b : a));
      const lines = of.map(([phrase], at) => `0 ${3 * (at + 1)}px 0 ${phrase.color}`).join(", ");
      made.append(el("mark", { tabindex: 0, role: "button", "aria-label": `Show the boxes of ${visible(whole.phrases[number].text)}`, "data-of": of.map(([, other]) => other).join(" "), style: { boxShadow: lines }, on: lighting(number) }, text));
    }
    return made;
  }
  const percent = (score) => (score === null ? "no score" : `score ${score.toFixed(2)}`);
  const verified = (value, by) => (value === null ? "not verified" : (value ? "verified" : "rejected") + (by ? ` by ${by}` : ""));
  function phrases(r, whole) {
    const made = el("ol", { class: "phrases" });
    whole.phrases.forEach((phrase, number) => {
      const gone = phrase.outcome === "rejected";
      const item = el("li", { "data-of": number, style: { borderColor: phrase.color }, on: lighting(number) },
        el("span", { class: `text${gone ? " struck" : ""}`, tabindex: 0, role: "button", "aria-label": `Show the boxes of ${visible(phrase.text)}` }, `${number + 1}. `, said(phrase.text)),
        el("div", { class: "quiet" }, [...(whole.sides.length ? [phrase.side === "truth" ? "the truth" : phrase.side ? `only in ${phrase.side}` : `in ${whole.sides.slice(0, 2).join(" and ")}`] : []), phrase.outcome || "not grounded", verified(phrase.verified, phrase.by), ...phrase.flags].join(" · ")),
        phrase.other ? el("div", {}, `${whole.sides[1]} says: `, said(phrase.other)) : null,
        phrase.was ? el("div", {}, "Before the double check: ", said(phrase.was)) : null);
      const list = el("ul", {});
      phrase.boxes.forEach((box) => {
        const words = box.side === "truth" ? "the truth" : [...(box.side ? [box.side, box.iou === null ? "no box of the other stands for it" : `IoU ${box.iou.toFixed(2)}`] : []), percent(box.score), verified(box.rejected ? false : box.verified, box.by), ...box.flags].join(" · ");
        const change = box.was ? `moved from [${box.was.map(Math.round).join(", ")}]` : box.proposed ? `the double check would move it to [${box.proposed.map(Math.round).join(", ")}]` : "";
        list.append(el("li", { "data-box": box.id }, el("span", { class: box.rejected ? "struck" : "" }, `[${box.box.map(Math.round).join(", ")}]`), el("span", {}, words), change ? el("span", { class: "warn" }, change) : null,
          box.id && (!box.rejected || box.judged) ? verdictButtons(r, box) : null));
      });
      item.append(list);
      made.append(item);
    });
    return whole.phrases.length ? made : el("p", {}, "None.");
  }
  function note(r) {
    if ("w" in r) return el("p", { class: "quiet" }, "Judgements are for reviews of one result: raylabel review RESULTS.");
    if (!r.l) return el("p", { class: "quiet" }, "These results have no store, so there is nothing to hand judgements back to.");
    const box = el("textarea", { id: "note", maxlength: 10000, on: { input: (event) => judge(r, { note: event.target.value }) } });
    box.value = verdictOn(r).note || "";
    return el("div", {}, el("h3", {}, el("label", { for: "note" }, "Note")), box);
  }
  function stepsTable(whole) {
    const rows = whole.steps.map((one) => el("tr", {}, el("th", { scope: "row" }, one.label), el("td", { class: BAD.includes(one.outcome) ? "bad" : "" }, one.outcome),
      el("td", {}, said(one.reason || ""), Object.entries(one.violations || {}).map(([rule, count]) => el("div", {}, `${rule} × ${count}`))), el("td", {}, said(one.model || ""))));
    const flags = whole.flags.length ? el("p", {}, `Flags: ${whole.flags.join(", ")}`) : null;
    return el("div", {}, el("h3", {}, "Steps"), el("table", {}, el("thead", {}, el("tr", {}, ["Step", "Outcome", "Reason", "Model"].map((word) => el("th", { scope: "col" }, word)))), el("tbody", {}, rows)), flags);
  }
  function replies(r, whole) {
    const place = el("div", {});
    const made = el("details", { id: "replies" }, el("summary", {}, "Questions and raw replies"), place);
    made.addEventListener("toggle", async () => {
      if (!made.open || place.childElementCount) return;
      place.append(el("p", {}, "Loading ..."));
      let found = [];
      try { found = await chunk("replies", r.n); } catch (error) { place.replaceChildren(el("p", { class: "bad" }, error.message)); return; }
      const parts = found.map((one) => el("section", {}, el("h4", {}, one.step), el("pre", { class: "question", dir: "auto", tabindex: 0 }, one.question),
        one.replies.map((reply) => [el("p", { class: "quiet" }, [reply.model, reply.finish, `${reply.seconds} s`, reply.tokens_in === null ? "" : `${reply.tokens_in} tokens in, ${reply.tokens_out} out`, reply.usd === null ? "" : `${Number(reply.usd.toPrecision(3))} USD`].filter(Boolean).join(" · ")), el("pre", { class: "reply", dir: "auto", tabindex: 0 }, reply.text)])));
      place.replaceChildren(...(parts.length ? parts : [el("p", {}, "The store has no reply to a question of this record as it is put now.")]));
    });
    return made;
  }
  function jsonLine(whole) {
    const where = whole.line_number ? el("p", {}, el("a", { href: meta.annotations }, "annotations.jsonl"), `, line ${whole.line_number}`) : null;
    return el("details", { id: "line" }, el("summary", {}, "The JSON line"), where, el("pre", { dir: "ltr", tabindex: 0 }, JSON.stringify(whole.line, null, 1)));
  }

  // --- keys -----------------------------------------------------------------------------------------------------
  const VERDICT_KEYS = { a: "accept", r: "reject", f: "flag", u: "none" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "Escape" && (opened || typing)) {
      if (typing) event.target.blur(); else go({ ...asked, record: "" });
      return;
    }
    if (typing) return;
    const record = opened || shown[current];
    if (record && event.key in VERDICT_KEYS) {
      const row = opened && event.target.closest("li[data-box]");
      const box = row && row.dataset.box ? full.phrases.flatMap((p) => p.boxes).find((one) => one.id === row.dataset.box) : null;
      judge(record, { verdict: VERDICT_KEYS[event.key] }, box);
    } else if (opened && event.key === "n" && $("note")) $("note").focus();
    else if (opened && event.key === "b") article.classList.toggle("bare");
    else if (opened && (event.key === "ArrowRight" || event.key === "j")) step(1);
    else if (opened && (event.key === "ArrowLeft" || event.key === "k")) step(-1);
    else if (!opened && event.key === "ArrowRight") move(1, true);
    else if (!opened && event.key === "ArrowLeft") move(-1, true);
    else if (!opened && event.key === "ArrowDown") move(columns(), true);
    else if (!opened && event.key === "ArrowUp") move(-columns(), true);
    else return;
    event.preventDefault();
  });
  grid.addEventListener("focusin", (event) => {
    const at = Number(event.target.dataset.at);
    if (Number.isInteger(at) && at !== current) { const before = grid.querySelector("a.current"); if (before) { before.classList.remove("current"); before.tabIndex = -1; } current = at; event.target.classList.add("current"); event.target.tabIndex = 0; }
  });
  window.addEventListener("scroll", () => paintGrid(false), { passive: true });
  window.addEventListener("resize", () => { paintGrid(true); if (full) paintBoxes(full); });
  window.addEventListener("hashchange", follow);
  $("download").addEventListener("click", download);
  $("forget").addEventListener("click", () => { if (window.confirm("Forget the judgements that this browser keeps? Those in the store stay.")) { judgements = {}; keep(); if (opened) paintVerdicts(); paintGrid(true); } });

  async function start() {
    for (let n = 0; n < meta.index_chunks; n++) await load(`data/index-${String(n).padStart(5, "0")}.js`);
    if (index.some((r) => "w" in r)) usual = "apart";
    build();
    keep();
    follow();
    document.documentElement.dataset.ready = "yes";
  }
  return {
    index: (records) => { for (const record of records) { record.n = index.length; index.push(record); } },
    records: (number, found) => chunks.records.set(number, found),
    replies: (number, found) => chunks.replies.set(number, found),
    start,
  };
})();
raylabel.start();
