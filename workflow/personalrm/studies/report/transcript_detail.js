// One judgment of the page of transcripts. Everything is written with textContent, and made when it is looked at: no
// text of a user or model becomes markup.

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

const worded = (status) => status.replaceAll("_", " ");

// `row` where it may compare two systems, of which `correct` is the first.
function badge(outcome, row) {
  const [first, second] = row?.systems ? row.systems.map((name) => `${name} better`) : ["✓ right", "✗ wrong"];
  const shown = { correct: first, wrong: second }[outcome];
  return make("span", shown || worded(outcome), shown ? `badge ${outcome}` : "badge");
}

const signed = (value, places) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(places)}`;

// The models of a row, k and draw, as far as it has them.
function models(row) {
  const said = [];
  if (row.judge_model) said.push(row.judge_model);
  if (row.profile_model && row.profile_model !== row.judge_model) said.push(`${row.written || "profile"} by ${row.profile_model}`);
  if (row.variant && !["baseline", "corrected"].includes(row.variant)) said.push(row.variant);
  if (row.k !== "-") said.push(`k = ${row.k}`);
  if (row.draw) said.push(`draw ${row.draw + 1}`);
  return said.join(" · ");
}

// Whether the rejected answer stands first, of a verdict whose right answer may be the rejected one; null: both orders.
const rejectedFirst = (row, swapped) => (swapped === null ? null : swapped !== (row.side === "rejected"));
const right = (row) => (row.systems ? `the answer of ${row.systems[0]}` : `the ${row.side || "chosen"} ${row.what || "answer"}`);

// `view` has unfold (open all folds), needle (text to mark), link (fragment of an item), ofPair (items of a pair) and absent (a
// pair that is asked for and not there).
function transcriptDetail(data, view) {
  const text = (place) => data.texts[place];

  // Text with what is searched for marked.
  function fill(node, content) {
    const needle = view.needle;
    const lower = needle ? content.toLowerCase() : "";
    let from = 0;
    // Lower case of some letters is longer than they are; then places in both texts differ, and nothing is marked.
    for (let at = lower.length === content.length && needle ? lower.indexOf(needle) : -1; at >= 0; at = lower.indexOf(needle, from)) {
      add(node, document.createTextNode(content.slice(from, at)), make("mark", content.slice(at, at + needle.length)));
      from = at + needle.length;
    }
    node.append(content.slice(from));
    return node;
  }

  // A part that is made when it is opened.
  function folded(title, inside) {
    const box = add(make("details"), make("summary", title));
    if (view.unfold) {
      inside(box);
      box.open = true;
      return box;
    }
    box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) inside(box); });
    return box;
  }

  const turn = (role, content) => add(make("div", null, "turn"), make("div", role, "role"), fill(make("div", null, "text"), content));

  // What is known of the answer of a compared system, in addition to its text.
  function showTold(pair, which) {
    const told = pair.told[which];
    const removed = pair.stripped[which];
    const said = [told === null ? "Told no persona" : `Told: ${text(told)}`, `${pair.words[which]} ${pair.words[which] === 1 ? "word" : "words"}`, removed.length && `removed before judging: ${removed.join(" ")}`];
    return fill(make("p", null, "small"), said.filter(Boolean).join("; "));
  }

  function showPair(place, systems) {
    const pair = data.pairs[place];
    const box = make("div");
    for (const [role, content] of pair.context) add(box, turn(role, text(content)));
    const titles = systems ? systems.map((name) => `Answer of ${name}`) : [view.chosenBy, "Rejected"];
    return add(box, add(make("div", null, "answers"), ...["chosen", "rejected"].map((side, which) => add(make("div", null, systems ? null : side),
      make("div", titles[which], "role"), fill(make("div", null, "text"), text(pair[side])), systems && showTold(pair, which)))));
  }

  // Personas of a pair by who wrote them; those of the row's writer are open.
  function showPersonas(row, place) {
    const box = make("section");
    for (const [writer, sides] of Object.entries(data.pairs[place].personas || {})) {
      const inside = (parent) => add(parent, add(make("div", null, "answers"), ...["chosen", "rejected"].map((side) => {
        const part = add(make("div", null, side), make("div", `Persona of who prefers the ${side} answer`, "role"));
        if (!sides[side]) return add(part, make("p", "None."));
        const [persona, outcome, calls] = sides[side];
        add(part, persona === null ? make("p", `None: ${worded(outcome)}.`) : fill(make("div", null, "text"), text(persona)));
        if (calls.length) add(part, folded("How it was asked for", (inner) => { for (const call of calls) add(inner, showCall(call, false)); }));
        return part;
      })));
      if (writer === row.profile_model) inside(add(box, make("h4", `Personas by ${writer}`)));
      else add(box, folded(`Personas by ${writer}`, inside));
    }
    return box.children.length ? box : null;
  }

  function showPrompt(call) {
    if (call.prompt === null) return make("p", "The prompt could not be built again: prompts, data or settings are no longer those of the call, or it was shortened to fit the model.", "small");
    return folded(`Prompt as sent (${call.prompt.length} messages)`, (box) => {
      for (const place of call.prompt) {
        const [role, content] = data.messages[place];
        add(box, add(make("div", null, "turn"), make("div", role, "role"), fill(make("pre"), text(content))));
      }
    });
  }

  function showAnswer(answer) {
    if (answer === null) return make("p", "The response store has no answer under this key.", "small");
    const box = add(make("div"), make("div", "Raw answer", "role"), fill(make("pre"), text(answer.text)));
    if (answer.reasoning) add(box, make("div", "Separate reasoning", "role"), fill(make("pre"), answer.reasoning));
    if (answer.refusal) add(box, make("div", "Refusal", "role"), make("pre", answer.refusal));
    const top = answer.top.map(([token, value]) => `${JSON.stringify(token)} ${value.toFixed(3)}`).join("   ");
    if (top) add(box, make("div", "Log-probabilities of the first token", "role"), make("pre", top));
    return add(box, make("p", `${answer.tokens[0]} tokens in, ${answer.tokens[1]} out, ended by ${answer.finish}`, "small"));
  }

  const order = (row, swapped) => (row.systems ? `Answer of ${row.systems[Number(swapped)]} shown first` : `${swapped ? "Rejected" : "Chosen"} ${row.what || "answer"} shown first`);

  function showCall(place, row) {
    const call = data.calls[place];
    const named = row && call.swapped !== null ? `${order(row, call.swapped)}. ` : "";
    return add(make("div", null, "part"), make("p", `${named}Key ${call.key.slice(0, 16)}…`, "small"), showPrompt(call), showAnswer(call.answer));
  }

  function showVerdict(row, [swapped, outcome, said, odds, calls]) {
    const title = swapped === null ? "Both orders together" : order(row, rejectedFirst(row, swapped));
    const facts = [said && `the judge said ${said}`, odds !== null && `log-odds of ${right(row)} ${signed(odds, 3)}`];
    const line = add(make("p"), badge(outcome, row), document.createTextNode(facts.filter(Boolean).join("; ")));
    const box = add(make("section"), make("h3", title), line);
    if (!calls.length) return add(box, make("p", "No model call stands behind this verdict.", "small"));
    const ordered = [...calls].sort((one, other) => data.calls[one].swapped - data.calls[other].swapped);
    const inside = (parent) => { for (const place of ordered) add(parent, showCall(place, swapped === null && row)); };
    if (ordered.length > 4) return add(box, folded(`${ordered.length} calls`, inside));
    inside(box);
    return box;
  }

  // A line of the comparison: outcome in each order, log-odds, difference to Default, and what was answered.
  function comparedRow(number, current, withOdds) {
    const [place, , verdicts] = data.items[number];
    const row = data.rows[place];
    const line = make("tr");
    if (number === current) line.className = "current";
    const link = make("a", row.label);
    link.href = view.link(number);
    if (number === current) link.setAttribute("aria-current", "true");
    const head = add(make("th"), link, make("small", models(row)));
    head.scope = "row";
    add(line, head);
    if (!verdicts.length || verdicts.some(([swapped]) => swapped === null)) {
      const cell = add(make("td"), ...(verdicts.length ? verdicts.map((verdict) => badge(verdict[1], row)) : [badge(row.status)]));
      cell.colSpan = 2;
      if (verdicts.length) add(cell, make("span", "both orders", "small"));
      add(line, cell);
    } else {
      for (const first of [false, true]) add(line, add(make("td"), ...verdicts.filter(([swapped]) => rejectedFirst(row, swapped) === first).map((verdict) => badge(verdict[1], row))));
    }
    const margin = view.margin(number);
    if (withOdds) add(line, make("td", margin === null ? "" : signed(margin, 2), "number"));
    if (view.compares) add(line, make("td", view.versus(number)));
    return line;
  }

  function showCompared(pair, current) {
    const numbers = view.ofPair(pair);
    const withOdds = numbers.some((number) => view.margin(number) !== null);
    const [first, second] = data.rows[data.items[current][0]].systems || ["Chosen", "Rejected"];
    const heads = ["Method", `${first} first`, `${second} first`, ...(withOdds ? ["Log-odds"] : []), ...(view.compares ? ["Against Default"] : [])];
    const table = make("table");
    const head = add(make("tr"), ...heads.map((name) => Object.assign(make("th", name), { scope: "col" })));
    const body = add(make("tbody"), ...numbers.map((number) => comparedRow(number, current, withOdds)));
    const box = add(make("div", null, "scroll"), add(table, add(make("thead"), head), body));
    Object.assign(box, { id: "compared", tabIndex: 0 });
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "This pair under all methods");
    return add(make("section"), make("h3", `This pair under all methods (${numbers.length})`), box);
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
      for (const place of profile.calls) add(inner, showCall(place, null));
    }));
    if (profile.events.length) add(box, folded("Notes", (inner) => add(inner, turn("", profile.events.join("\n")))));
    return box;
  }

  function showUser(user, row) {
    if (!user.user) return null;
    const own = row.profile;
    const box = add(make("section"), make("h3", `About ${user.user}`));
    if (row.taste) add(box, make("h4", "The measured persona"), turn("persona", text(row.taste)));
    if (user.taste) add(box, turn("planted taste (known for this data set; no method but the oracle sees it)", user.taste));
    const survey = Object.entries(user.survey);
    if (survey.length) add(box, folded("Survey", (inner) => add(inner, turn("", survey.map((pair) => pair.join(": ")).join("\n")))));
    if (own !== null) add(box, make("h4", "The profile that the judge was shown"), showProfile(data.profiles[own]));
    const others = user.profiles.filter((place) => place !== own);
    if (others.length) add(box, folded(own === null ? `Profiles learned of this user (${others.length})` : `Other profiles of this user (${others.length})`,
      (inner) => { for (const place of others) add(inner, showProfile(data.profiles[place])); }));
    return box;
  }

  function nothing() {
    if (!data.items.length) return "This run has no judgments.";
    return view.absent ? `The pair ${view.absent} is not on this page.` : "Nothing matches. Clear the search or a filter.";
  }

  return function show(detail, number) {
    detail.replaceChildren();
    detail.scrollTop = 0;
    if (number === undefined) return add(detail, make("p", nothing()));
    const [place, pair, verdicts] = data.items[number];
    const row = data.rows[place];
    const user = data.users[row.user];
    const about = [user.dataset, user.user && `user ${user.user}`, pair !== null && `pair ${data.pairs[pair].id}`, models(row)];
    const link = make("a", "Link to this judgment");
    link.href = view.link(number);
    add(detail, make("h2", row.label), add(make("p", `${about.filter(Boolean).join(", ")} · `, "small"), link));
    if (row.reason) add(detail, make("p", `${worded(row.status)}: ${row.reason}`));
    if (pair !== null) add(detail, add(make("p"), ...verdicts.map((verdict) => badge(verdict[1], row)), document.createTextNode(view.versus(number) && `${view.versus(number)} ${view.versus(number) === "equal" ? "to" : "than"} Default on this pair`)), showPair(pair, row.systems), showPersonas(row, pair), showCompared(pair, number));
    for (const verdict of verdicts) add(detail, showVerdict(row, verdict));
    return add(detail, showUser(user, row));
  };
}
