"use strict";
(function () {
  const read = (id) => document.getElementById(id).textContent;
  const charts = JSON.parse(read("charts"));

  const drawn = new Set();

  function draw(place) {
    if (drawn.has(place)) return;
    drawn.add(place);
    Bokeh.embed.embed_item(charts[place], place);
  }
  // one after the other, so that a page of many languages can be read at once; what is in view comes first
  const waiting = Object.keys(charts);
  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver((entries) => {
      entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target.id));
    }, { rootMargin: "300px" });
    waiting.forEach((place) => watcher.observe(document.getElementById(place)));
  }
  (function next() {
    if (!waiting.length) return;
    draw(waiting.shift());
    setTimeout(next, 30);
  })();
  window.addEventListener("beforeprint", () => Object.keys(charts).forEach(draw));

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function rowsOf(data) {
    const rows = [];
    let id = 0, at = 0;
    data.texts.forEach((text, k) => {
      id += data.ids[k];
      const sources = [];
      for (let n = Number(data.lengths[k]); n > 0; n--, at++) {
        sources.push([data.english[data.sources[at]], data.percent[at]]);
      }
      rows.push({ id, text, key: folded(text), kind: data.kinds[Number(data.provenance[k])],
        evidence: data.evidence[k], count: data.counts.length ? data.counts[k] : null, sources });
    });
    return rows;
  }

  const folded = (text) => text.normalize("NFC").toLowerCase().replace(/^-|-$/g, "");

  // the better a row fits, the smaller: the token itself, its beginning, a part of it, its first English token
  function rank(row, wanted) {
    if (row.key === wanted) return 0;
    if (row.key.startsWith(wanted)) return 1;
    if (row.sources.length && folded(row.sources[0][0]) === wanted) return 2;
    return row.key.includes(wanted) ? 3 : 4;
  }

  function cell(row, text, kind, direction) {
    const made = row.insertCell();
    const inner = document.createElement(direction ? "bdi" : "span");
    if (direction) inner.dir = "auto";
    inner.textContent = text;
    made.className = kind;
    made.append(inner);
    return made;
  }

  function table(rows) {
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    for (const [name, kind] of [["token", ""], ["id", "n"], ["row from", ""], ["links", "n"], ["English tokens", ""]]) {
      const title = document.createElement("th");
      title.textContent = name;
      title.className = kind;
      head.append(title);
    }
    const body = made.createTBody();
    for (const found of rows) {
      const row = body.insertRow();
      cell(row, found.text, "token", true);
      cell(row, String(found.id), "n");
      cell(row, found.kind, "").firstChild.className = "kind " + found.kind;
      cell(row, String(found.evidence), "n");
      const last = row.insertCell();
      last.className = "sources";
      for (const [text, percent] of found.sources) {
        const source = document.createElement("span"), name = document.createElement("bdi"), share = document.createElement("span");
        source.className = "source";
        share.className = "soft";
        name.dir = "auto";
        name.textContent = text;
        share.textContent = " " + percent + " %";
        source.append(name, share);
        last.append(source);
      }
      if (!found.sources.length) last.textContent = "none";
    }
    return made;
  }

  async function search(box) {
    const input = box.querySelector("input"), status = box.querySelector(".status"), results = box.querySelector(".results");
    if (!("DecompressionStream" in window)) {
      status.textContent = "This browser is too old for the search box.";
      return;
    }
    const rows = rowsOf(await unpacked(read(box.dataset.tokens)));
    input.disabled = false;
    status.textContent = rows.length.toLocaleString("en") + " tokens";
    input.addEventListener("input", () => {
      const wanted = folded(input.value.trim());
      results.replaceChildren();
      if (!wanted) {
        status.textContent = rows.length.toLocaleString("en") + " tokens";
        return;
      }
      const found = rows.map((row) => [rank(row, wanted), row]).filter(([fit]) => fit < 4);
      found.sort(([one, a], [other, b]) => one - other || (b.count || 0) - (a.count || 0) || a.id - b.id);
      status.textContent = found.length.toLocaleString("en") + " found" + (found.length > 50 ? ", the first 50 of them:" : "");
      if (found.length) results.append(table(found.slice(0, 50).map(([, row]) => row)));
    });
  }
  document.querySelectorAll(".search").forEach(search);
})();
