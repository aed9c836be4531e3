"use strict";
// Everything is written with textContent, and made when it is looked at: no text of a user or model becomes markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 100;
  const FILTERS = ["dataset", "user", "judge", "method", "k", "outcome"];
  const NAMES = { dataset: "Data set", user: "User", judge: "Judge", method: "Method", k: "Context pairs (k)", outcome: "Outcome" };
  const at = (id) => document.getElementById(id);
  const text = (place) => data.texts[place];
  const worded = (status) => status.replace("_", " ");

  function make(tag, content, className) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (content !== undefined && content !== null) node.textContent = content;
    return node;
  }

  function add(parent, ...children) {
    parent.append(...children.filter(Boolean));
    return parent;
  }

  // A part that is made when it is opened.
  function folded(title, fill) {
    const box = add(make("details"), make("summary", title));
    if (read().unfold) {
      fill(box);
      box.open = true;
      return box;
    }
    box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) fill(box); });
    return box;
  }

  // What an item answers to each filter. An item is [row, pair, verdicts], a verdict [swapped, outcome, said, odds, calls].
  function values(item) {
    const row = data.rows[item[0]];
    const user = data.users[row.user];
    const outcomes = item[2].map((verdict) => verdict[1]);
    return {
      dataset: [user.dataset], user: [user.user], judge: [row.judge_model || "none"], method: [row.label], k: [row.k],
      outcome: outcomes.length ? [...new Set(outcomes)] : ["no verdict"],
    };
  }
  const answers = data.items.map(values);

  // The address after "#" holds filters, page and item, so that a view can be linked to.
  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const state = { page: Number(given.get("page")) || 0, item: null, unfold: given.get("unfold") || "" };
    if (given.has("item")) state.item = Number(given.get("item"));
    for (const name of FILTERS) state[name] = given.get(name) || "";
    return state;
  }

  function go(changes) {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...read(), ...changes })) {
      if (value !== "" && value !== null && !(name === "page" && value === 0)) given.set(name, value);
    }
    location.hash = given.toString();
  }

  const matches = (state, number) => FILTERS.every((name) => !state[name] || answers[number][name].includes(state[name]));

  function buildFilters() {
    for (const name of FILTERS) {
      const select = make("select");
      select.id = `filter-${name}`;
      add(select, new Option("all", ""));
      const found = new Set(answers.flatMap((answer) => answer[name]));
      for (const value of [...found].sort()) add(select, new Option(value, value));
      select.addEventListener("change", () => go({ [name]: select.value, page: 0, item: null }));
      add(at("filters"), add(make("label", NAMES[name]), select));
    }
    const unfold = make("input");
    unfold.type = "checkbox";
    unfold.id = "unfold";
    unfold.addEventListener("change", () => go({ unfold: unfold.checked ? "1" : "" }));
    add(at("filters"), add(make("label", "Unfold prompts"), unfold));
  }

  function badge(outcome) {
    const known = outcome === "correct" || outcome === "wrong";
    return make("span", outcome.replaceAll("_", " "), known ? `badge ${outcome}` : "badge");
  }

  function listItem(number, current) {
    const [place, pair, verdicts] = data.items[number];
    const row = data.rows[place];
    const button = make("button");
    for (const verdict of verdicts) add(button, badge(verdict[1]));
    if (!verdicts.length) add(button, badge(`no verdict: ${worded(row.status)}`));
    add(button, document.createTextNode(data.users[row.user].user));
    const context = pair === null ? [] : data.pairs[pair].context;
    const asked = context.length ? text(context[context.length - 1][1]).slice(0, 80) : "";
    add(button, make("span", row.label + models(row), "where"), make("span", asked, "where"));
    if (number === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => go({ item: number }));
    return add(make("li"), button);
  }

  function models(row) {
    const said = [];
    if (row.judge_model) said.push(row.judge_model);
    if (row.profile_model && row.profile_model !== row.judge_model) said.push(`profile by ${row.profile_model}`);
    if (row.k !== "-") said.push(`k = ${row.k}`);
    if (row.draw) said.push(`draw ${row.draw + 1}`);
    return said.length ? ` · ${said.join(" · ")}` : "";
  }

  function turn(role, content) {
    return add(make("div", null, "turn"), make("div", role, "role"), make("div", content, "text"));
  }

  function showPair(place) {
    const pair = data.pairs[place];
    const box = make("div");
    for (const [role, content] of pair.context) add(box, turn(role, text(content)));
    const side = (title, content, name) => add(make("div", null, name), make("div", title, "role"), make("div", text(content), "text"));
    return add(box, add(make("div", null, "answers"),
      side("Chosen by the user", pair.chosen, "chosen"), side("Rejected", pair.rejected, "rejected")));
  }

  function showPrompt(call) {
    if (call.prompt === null) return make("p", "The prompt could not be built again: prompts, data or settings are no longer those of the call.", "small");
    return folded(`Prompt as sent (${call.prompt.length} messages)`, (box) => {
      for (const place of call.prompt) {
        const [role, content] = data.messages[place];
        add(box, add(make("div", null, "turn"), make("div", role, "role"), make("pre", text(content))));
      }
    });
  }

  function showAnswer(answer) {
    if (answer === null) return make("p", "The response store has no answer under this key.", "small");
    const box = add(make("div"), make("div", "Raw answer", "role"), make("pre", text(answer.text)));
    if (answer.reasoning) add(box, make("div", "Separate reasoning", "role"), make("pre", answer.reasoning));
    if (answer.refusal) add(box, make("div", "Refusal", "role"), make("pre", answer.refusal));
    const top = answer.top.map(([token, value]) => `${JSON.stringify(token)} ${value.toFixed(3)}`).join("   ");
    if (top) add(box, make("div", "Log-probabilities of the first token", "role"), make("pre", top));
    return add(box, make("p", `${answer.tokens[0]} tokens in, ${answer.tokens[1]} out, ended by ${answer.finish}`, "small"));
  }

  function showCall(place, named) {
    const call = data.calls[place];
    const order = call.swapped === null ? "" : call.swapped ? "Rejected answer shown first. " : "Chosen answer shown first. ";
    return add(make("div", null, "part"), make("p", `${named ? order : ""}Key ${call.key.slice(0, 16)}…`, "small"),
      showPrompt(call), showAnswer(call.answer));
  }

  function showVerdict([swapped, outcome, said, odds, calls]) {
    const order = swapped === null ? "Both orders together" : swapped ? "Rejected answer shown first" : "Chosen answer shown first";
    const facts = [said && `the judge said ${said}`, odds !== null && `log-odds of the chosen answer ${odds.toFixed(3)}`];
    const line = add(make("p"), badge(outcome), document.createTextNode(facts.filter(Boolean).join("; ")));
    const box = add(make("section"), make("h3", order), line);
    if (!calls.length) add(box, make("p", "No model call stands behind this verdict.", "small"));
    const ordered = [...calls].sort((one, other) => data.calls[one].swapped - data.calls[other].swapped);
    for (const place of ordered) add(box, showCall(place, swapped === null));
    return box;
  }

  function showDemonstrations(title, shown) {
    if (!shown.length) return null;
    return folded(`${title} (${shown.length})`, (box) => {
      for (const [pair, swapped, reasoning] of shown) {
        add(box, add(make("div", null, "part"), showPair(pair),
          make("p", swapped ? "Shown with the rejected answer first." : "Shown with the chosen answer first.", "small"),
          reasoning === null ? null : turn("reasoning", text(reasoning))));
      }
    });
  }

  function showProfile(profile) {
    const box = make("div", null, "part");
    add(box, make("p", `Learned by ${profile.model}, ${profile.variant}, k = ${profile.k}, draw ${profile.draw + 1}`, "small"));
    if (profile.status !== "ok") add(box, make("p", `${worded(profile.status)}: ${profile.reason || ""}`));
    if (profile.lost) add(box, make("p", `Learned with lost calls: the provider failed ${profile.lost}. With them answered the profile may be another.`));
    if (profile.flaw) add(box, make("p", `The persona says nothing: ${profile.flaw}.`));
    if (profile.persona) add(box, turn("persona", profile.persona));
    if (profile.memory.length) add(box, turn("memory", profile.memory.map((fact) => `– ${fact}`).join("\n")));
    add(box, showDemonstrations("Demonstrations shown with the persona", profile.demonstrations),
      showDemonstrations("Demonstrations shown alone", profile.plain));
    if (profile.calls.length) add(box, folded("How the persona was asked for", (inner) => {
      for (const place of profile.calls) add(inner, showCall(place, false));
    }));
    if (profile.events.length) add(box, folded("Notes", (inner) => add(inner, turn("", profile.events.join("\n")))));
    return box;
  }

  function showUser(user, own) {
    const box = add(make("section"), make("h3", `About ${user.user}`));
    if (user.taste) add(box, turn("planted taste (known for this data set; no method but the oracle sees it)", user.taste));
    const survey = Object.entries(user.survey);
    if (survey.length) add(box, folded("Survey", (inner) => add(inner, turn("", survey.map((pair) => pair.join(": ")).join("\n")))));
    if (own !== null) add(box, make("h4", "The profile that the judge was shown"), showProfile(data.profiles[own]));
    const others = user.profiles.filter((place) => place !== own);
    if (others.length) add(box, folded(own === null ? `Profiles learned of this user (${others.length})` : `Other profiles of this user (${others.length})`,
      (inner) => { for (const place of others) add(inner, showProfile(data.profiles[place])); }));
    return box;
  }

  function showDetail(number) {
    const detail = at("detail");
    detail.replaceChildren();
    detail.scrollTop = 0;
    if (number === undefined) return add(detail, make("p", "Nothing matches these filters."));
    const [place, pair, verdicts] = data.items[number];
    const row = data.rows[place];
    const user = data.users[row.user];
    const named = pair === null ? "" : `, pair ${data.pairs[pair].id}`;
    add(detail, make("h2", row.label), make("p", `${user.dataset}, user ${user.user}${named}${models(row)}`, "small"));
    if (row.reason) add(detail, make("p", `${worded(row.status)}: ${row.reason}`));
    if (pair !== null) add(detail, showPair(pair));
    for (const verdict of verdicts) add(detail, showVerdict(verdict));
    return add(detail, showUser(user, row.profile));
  }

  function show() {
    const state = read();
    const found = [];
    for (let number = 0; number < data.items.length; number += 1) if (matches(state, number)) found.push(number);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const page = Math.min(state.page, pages - 1);
    const current = found.includes(state.item) ? state.item : found[page * PAGE];
    for (const name of FILTERS) at(`filter-${name}`).value = state[name];
    at("unfold").checked = Boolean(state.unfold);
    at("count").textContent = `${found.length.toLocaleString("en")} judged pairs, page ${page + 1} of ${pages}`;
    at("back").disabled = page === 0;
    at("on").disabled = page === pages - 1;
    const list = at("items");
    const scrolled = list.scrollTop;
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((number) => listItem(number, current)));
    list.scrollTop = scrolled;
    showDetail(current);
  }

  buildFilters();
  at("back").addEventListener("click", () => go({ page: read().page - 1, item: null }));
  at("on").addEventListener("click", () => go({ page: read().page + 1, item: null }));
  window.addEventListener("hashchange", show);
  show();
  // For those who measure: how long it took until the first view stood.
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
