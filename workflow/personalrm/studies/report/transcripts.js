// Search, filters, list, keys and download of the page of transcripts. The fragment of the address holds the view.
unpacked(document.getElementById("data").textContent).then(JSON.parse).then((data) => {
  const PAGE = 100;
  const NAMES = { dataset: "Data set", user: "User", method: "Method", judge: "Judge", writer: "Persona by", k: "Context pairs (k)", result: "Verdict", versus: "Against Default" };
  const FILTERS = Object.keys(NAMES);
  const ALL = "all";
  const RESULTS = { right: "right in every order", wrong: "wrong in every order", mixed: "right in one order only", won: "first system better in every order", lost: "second system better in every order", differ: "a system better in one order only", none: "no verdict" };
  const VERSUS = { better: "better", worse: "worse", same: "equal" };
  const at = (id) => document.getElementById(id);
  const versus = data.versus || [];

  const ofPair = new Map();
  data.items.forEach(([, pair], number) => {
    if (pair === null) return;
    if (!ofPair.has(pair)) ofPair.set(pair, []);
    ofPair.get(pair).push(number);
  });

  // Mean log-odds of the right answer over the verdicts of an item; null where none has them.
  const margins = data.items.map(([, , verdicts]) => {
    const odds = verdicts.map((verdict) => verdict[3]).filter((value) => value !== null);
    return odds.length ? odds.reduce((sum, value) => sum + value, 0) / odds.length : null;
  });
  const SORTS = {
    "": ["as in the run", null],
    wrong: ["surest wrong first", (margin) => margin],
    right: ["surest right first", (margin) => -margin],
    close: ["closest first", (margin) => Math.abs(margin)],
  };

  const userOf = (row) => `${data.users[row.user].dataset}/${data.users[row.user].user}`;
  const pairOf = (number) => {
    const [place, pair] = data.items[number];
    return pair === null ? "" : `${data.users[data.rows[place].user].dataset}/${data.pairs[pair].id}`;
  };
  // What names a row in every run of a config, whatever its place in the page.
  const rowOf = (number) => {
    const row = data.rows[data.items[number][0]];
    const who = data.items[number][1] === null ? [userOf(row)] : [];
    return [row.method, row.judge_model, row.profile_model, row.variant, row.k, row.draw, ...who].map((part) => part ?? "").join("*");
  };

  function results(verdicts, { systems }) {
    const outcomes = [...new Set(verdicts.map((verdict) => verdict[1]))];
    if (!outcomes.length) return ["none"];
    const whole = systems ? { correct: "won", wrong: "lost" } : { correct: "right", wrong: "wrong" };
    if (outcomes.length === 1) return [whole[outcomes[0]] || outcomes[0]];
    const others = outcomes.filter((outcome) => !whole[outcome]);
    if (systems) return others.length < outcomes.length ? ["differ", ...others] : others;
    return outcomes.includes("correct") ? ["mixed", ...others] : others;
  }

  function difference(number) {
    const value = versus[number];
    return value === null || value === undefined ? "" : value > 0 ? "better" : value < 0 ? "worse" : "same";
  }

  // What an item answers to each filter. An item is [row, pair, verdicts], a verdict [swapped, outcome, said, odds, calls].
  const answers = data.items.map((item, number) => {
    const row = data.rows[item[0]];
    return {
      dataset: [data.users[row.user].dataset], user: data.users[row.user].user ? [userOf(row)] : [], judge: [row.judge_model || "none"], writer: row.profile_model ? [row.profile_model] : [],
      method: [row.method], k: [row.k], result: results(item[2], row), versus: [difference(number)],
    };
  });

  // ---- Search

  let lowered = null;
  let searched = { key: "", hits: null };

  // Which items hold the text: in the conversation, answers, raw answers, personas, and, if asked for, prompts as sent.
  function hits(state) {
    const needle = state.q.toLowerCase();
    if (!needle) return null;
    const key = `${state.prompts} ${needle}`;
    if (searched.key === key) return searched.hits;
    lowered ||= data.texts.map((text) => text.toLowerCase());
    const inText = lowered.map((text) => text.includes(needle));
    const has = (text) => Boolean(text) && text.toLowerCase().includes(needle);
    const inProfile = (data.profiles || []).map((profile) => has(profile.persona) || profile.memory.some(has));
    const inMessage = data.messages.map(([, place]) => inText[place]);
    const inCall = data.calls.map(({ answer, prompt }) => (answer !== null && (inText[answer.text] || has(answer.reasoning)))
      || (Boolean(state.prompts) && prompt !== null && prompt.some((place) => inMessage[place])));
    const inPair = data.pairs.map((pair) => inText[pair.chosen] || inText[pair.rejected] || [...pair.context.map((turn) => turn[1]), ...(pair.told || [])].some((place) => inText[place])
      || has(pair.id) || Object.values(pair.personas || {}).some((sides) => Object.values(sides).some(([persona]) => inText[persona])));
    const found = data.items.map(([place, pair, verdicts]) => {
      const row = data.rows[place];
      return (pair !== null && inPair[pair]) || (row.profile !== null && row.profile !== undefined && inProfile[row.profile])
        || (row.taste !== undefined && inText[row.taste]) || verdicts.some((verdict) => verdict[4].some((call) => inCall[call]));
    });
    searched = { key, hits: found };
    return found;
  }

  // ---- The view, as the fragment has it

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const state = {};
    for (const name of [...FILTERS, "q", "prompts", "sort", "pair", "row", "unfold"]) state[name] = given.get(name) || "";
    return state;
  }

  function fragment(state) {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) if (value) given.set(name, value);
    return `#${given}`;
  }

  // A change of filters keeps the judgment that is looked at, if it is still among those that match. Steps replace the
  // entry of the history, so that "back" leaves the page and does not go through every judgment.
  function go(changes, { replace = false } = {}) {
    const to = fragment({ ...read(), ...changes });
    if (to === location.hash) return;
    if (!replace) { location.hash = to; return; }
    history.replaceState(null, "", to);
    show();
  }

  const link = (number) => fragment({ pair: pairOf(number), method: data.rows[data.items[number][0]].method, row: rowOf(number) });

  function matching(state) {
    const found = hits(state);
    const wanted = FILTERS.filter((name) => state[name] && state[name] !== ALL);
    const numbers = [];
    for (let number = 0; number < data.items.length; number += 1) {
      if ((!found || found[number]) && wanted.every((name) => answers[number][name].includes(state[name]))) numbers.push(number);
    }
    const rank = (SORTS[state.sort] || SORTS[""])[1];
    if (rank) {
      const ranks = new Map(numbers.map((number) => [number, margins[number] === null ? Infinity : rank(margins[number])]));
      numbers.sort((one, other) => ranks.get(one) - ranks.get(other) || one - other);
    }
    return numbers;
  }

  const pairs = new Set(data.items.map((_, number) => pairOf(number)));
  const isAbsent = (state) => Boolean(state.pair) && !pairs.has(state.pair);

  // Without a method in the fragment, the one that tells most is shown, if it leaves anything to show.
  function chosen(state) {
    if (isAbsent(state)) return { method: state.method || ALL, numbers: [] };
    if (state.method || !data.opens) return { method: state.method || ALL, numbers: matching(state) };
    const found = matching({ ...state, method: data.opens.method });
    const named = !state.pair || found.some((number) => pairOf(number) === state.pair);
    return found.length && named ? { method: data.opens.method, numbers: found } : { method: ALL, numbers: matching(state) };
  }

  function picked(state, numbers) {
    const exact = numbers.find((number) => rowOf(number) === state.row && pairOf(number) === state.pair);
    const same = state.pair ? numbers.find((number) => pairOf(number) === state.pair) : undefined;
    return exact ?? same ?? numbers[0];
  }

  // ---- Drawing

  const view = {
    unfold: false, needle: "", link, ofPair: (pair) => ofPair.get(pair), margin: (number) => margins[number],
    compares: versus.some((value) => value !== null), chosenBy: data.users.some((user) => user.user) ? "Chosen by the user" : "Chosen",
    versus: (number) => VERSUS[difference(number)] || "",
  };
  const showDetail = transcriptDetail(data, view);
  let drawn = "";
  let numbers = [];
  let current;
  let method = ALL;

  function listItem(number) {
    const [place, pair, verdicts] = data.items[number];
    const row = data.rows[place];
    const button = make("button");
    for (const verdict of verdicts) add(button, badge(verdict[1], row));
    if (!verdicts.length) add(button, badge(`no verdict: ${row.status}`));
    const margin = margins[number] === null ? "" : ` (${signed(margins[number], 2)})`;
    add(button, document.createTextNode(data.users[row.user].user + margin));
    const context = pair === null ? [] : data.pairs[pair].context;
    const asked = context.length ? data.texts[context[context.length - 1][1]].slice(0, 80) : "";
    add(button, make("span", asked, "where"), make("span", [method === ALL && row.label, models(row)].filter(Boolean).join(" · "), "where"));
    button.dataset.number = number;
    return add(make("li"), button);
  }

  function drawList(key) {
    const place = numbers.indexOf(current);
    const page = Math.max(0, Math.floor(place / PAGE));
    const pages = Math.max(1, Math.ceil(numbers.length / PAGE));
    const list = at("items");
    const inside = list.contains(document.activeElement);
    if (drawn !== `${key} ${page}`) {
      drawn = `${key} ${page}`;
      list.replaceChildren(...numbers.slice(page * PAGE, (page + 1) * PAGE).map(listItem));
      list.scrollTop = 0;
    }
    for (const button of list.querySelectorAll("button")) {
      const is = Number(button.dataset.number) === current;
      button.tabIndex = is ? 0 : -1;
      if (is) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
      if (is) button.scrollIntoView({ block: "nearest" });
      if (is && inside) button.focus();
    }
    at("count").textContent = `${numbers.length.toLocaleString("en")} judged pairs${pages > 1 ? `, page ${page + 1} of ${pages}` : ""}`;
    for (const name of ["back", "on"]) at(name).hidden = pages === 1;
    at("back").disabled = page === 0;
    at("on").disabled = page === pages - 1;
    at("position").textContent = numbers.length ? `${(place + 1).toLocaleString("en")} of ${numbers.length.toLocaleString("en")}` : "none";
    // Disabled buttons lose the focus; these stay, and say so.
    at("previous").setAttribute("aria-disabled", String(place <= 0));
    at("next").setAttribute("aria-disabled", String(place >= numbers.length - 1));
    at("save").disabled = !numbers.length;
    at("save").textContent = `Download ${numbers.length === 1 ? "this" : `these ${numbers.length.toLocaleString("en")}`} (JSON)`;
  }

  function show() {
    const state = read();
    ({ method, numbers } = chosen(state));
    current = picked(state, numbers);
    for (const name of FILTERS) {
      const select = at(`filter-${name}`);
      const value = name === "method" ? method : state[name] || ALL;
      // A value that the page does not have is listed all the same, so that the filter can be seen and taken away.
      if (![...select.options].some((option) => option.value === value)) add(select, new Option(value, value));
      select.value = value;
      select.classList.toggle("active", value !== ALL);
      select.closest("label").hidden = select.options.length <= 2 && value === ALL;
    }
    at("sort").value = state.sort;
    for (const name of ["prompts", "unfold"]) at(name).checked = Boolean(state[name]);
    if (document.activeElement !== at("search")) at("search").value = state.q;
    const within = at("detail").contains(document.activeElement);
    Object.assign(view, { unfold: Boolean(state.unfold), needle: state.q.toLowerCase(), absent: isAbsent(state) ? state.pair : "" });
    drawList(JSON.stringify([...FILTERS.map((name) => state[name]), method, state.q, state.prompts, state.sort]));
    showDetail(at("detail"), current);
    if (within) at("detail").focus({ preventScroll: true });
  }

  // ---- Controls

  function buildFilters() {
    const box = at("filters");
    const search = Object.assign(make("input"), { type: "search", id: "search", placeholder: "words in pairs, answers, personas" });
    let waiting = 0;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => go({ q: search.value }, { replace: true }), 150);
    });
    add(box, add(make("label", "Search"), search));
    const labels = { method: Object.fromEntries(data.rows.map((row) => [row.method, row.label])), result: RESULTS, versus: VERSUS };
    const several = new Set(data.users.map((user) => user.dataset)).size > 1;
    for (const name of FILTERS) {
      const select = Object.assign(make("select"), { id: `filter-${name}` });
      add(select, new Option("all", ALL));
      const found = new Set(answers.flatMap((answer) => answer[name]));
      const order = { result: Object.keys(RESULTS), versus: Object.keys(VERSUS), method: Object.keys(labels.method) }[name] || [];
      const listed = [...order.filter((value) => found.has(value)), ...[...found].filter((value) => value && !order.includes(value)).sort()];
      const shown = (value) => (name === "user" && !several ? value.slice(value.indexOf("/") + 1) : labels[name]?.[value] || worded(value));
      for (const value of listed) add(select, new Option(shown(value), value));
      select.addEventListener("change", () => go({ [name]: select.value === ALL && name !== "method" ? "" : select.value }));
      add(box, add(make("label", NAMES[name]), select));
    }
    const sort = Object.assign(make("select"), { id: "sort" });
    for (const [value, [title]] of Object.entries(SORTS)) add(sort, new Option(title, value));
    sort.addEventListener("change", () => go({ sort: sort.value, pair: "", row: "" }));
    const label = add(make("label", "Order"), sort);
    label.hidden = margins.every((margin) => margin === null);
    add(box, label);
    for (const [name, title] of Object.entries({ prompts: "Search prompts as sent, too", unfold: "Open all folds" })) {
      const check = Object.assign(make("input"), { type: "checkbox", id: name });
      check.addEventListener("change", () => go({ [name]: check.checked ? "1" : "" }, { replace: true }));
      const checked = add(make("label", null, "check"), check, document.createTextNode(title));
      add(box, checked);
    }
    const clear = Object.assign(make("button", "Clear"), { type: "button", id: "clear" });
    clear.addEventListener("click", () => { search.value = ""; location.hash = "#method=all"; });
    add(box, clear);
    box.addEventListener("submit", (event) => event.preventDefault());
    if (data.opens) {
      at("opens").textContent = `Opens with ${labels.method[data.opens.method]}, the method that differs from Default most often: on ${data.opens.pairs} of ${data.opens.of} pairs.`;
    }
  }

  function pick(number, options) {
    if (number !== undefined) go({ pair: pairOf(number), row: rowOf(number) }, options);
  }

  const step = (by) => pick(numbers[numbers.indexOf(current) + by], { replace: true });
  const turnPage = (by) => pick(numbers[(Math.floor(numbers.indexOf(current) / PAGE) + by) * PAGE], { replace: true });

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const inList = at("items").contains(event.target);
    if (event.target.closest("input, select, textarea, .scroll")) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ...(inList ? { ArrowUp: -1, ArrowDown: 1 } : {}) };
    const ends = inList ? { Home: numbers[0], End: numbers[numbers.length - 1] } : {};
    if (event.key in steps) step(steps[event.key]);
    else if (event.key in ends) pick(ends[event.key], { replace: true });
    else return;
    event.preventDefault();
  }

  // On narrow screens, filters and list are behind a button each.
  function toggles(button, box) {
    const set = (shown) => {
      at(box).classList.toggle("shown", shown);
      at(button).setAttribute("aria-expanded", String(shown));
    };
    at(button).addEventListener("click", () => {
      set(!at(box).classList.contains("shown"));
      if (box === "list" && at(box).classList.contains("shown")) at(box).scrollIntoView();
    });
    return () => set(false);
  }

  // ---- Download

  function plainCall(place) {
    const { key, prompt, answer } = data.calls[place];
    const messages = prompt && prompt.map((message) => ({ role: data.messages[message][0], content: data.texts[data.messages[message][1]] }));
    return { key, prompt: messages, answer: answer && { ...answer, text: data.texts[answer.text] } };
  }

  function plain(number) {
    const [place, pair, verdicts] = data.items[number];
    const { user, profile, taste, ...row } = data.rows[place];
    const texts = data.pairs[pair];
    const persona = taste !== undefined ? data.texts[taste] : profile === null || profile === undefined ? null : data.profiles[profile].persona;
    const personas = texts?.personas && Object.fromEntries(Object.entries(texts.personas).map(([writer, sides]) => [writer,
      Object.fromEntries(Object.entries(sides).map(([side, [text]]) => [side, text === null ? null : data.texts[text]]))]));
    const sides = row.systems || ["chosen", "rejected"];
    const first = (swapped) => (swapped === null ? "both" : sides[Number(rejectedFirst(row, swapped))]);
    const compared = row.systems && { answers: { [sides[0]]: data.texts[texts.chosen], [sides[1]]: data.texts[texts.rejected] }, told: texts.told.map((place) => (place === null ? null : data.texts[place])), words: texts.words, stripped: texts.stripped };
    return {
      dataset: data.users[user].dataset, user: data.users[user].user || null, ...row, persona,
      pair: texts ? { id: texts.id, context: texts.context.map(([role, text]) => ({ role, content: data.texts[text] })), ...(compared || { chosen: data.texts[texts.chosen], rejected: data.texts[texts.rejected], personas }) } : null,
      verdicts: verdicts.map(([swapped, outcome, said, odds, calls]) => ({ shown_first: first(swapped), outcome, said, log_odds: odds, calls: calls.map(plainCall) })),
    };
  }

  function save() {
    // In parts, so that no text as long as the whole file is made.
    const parts = [`{"run": ${JSON.stringify(data.run)}, "view": ${JSON.stringify(read())}, "judgments": [\n`];
    numbers.forEach((number, place) => parts.push(`${place ? ",\n" : ""}${JSON.stringify(plain(number))}`));
    const file = make("a");
    file.href = URL.createObjectURL(new Blob([...parts, "\n]}\n"], { type: "application/json" }));
    file.download = `${data.run}-transcripts.json`;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
  }

  buildFilters();
  const closeList = toggles("show-list", "list");
  toggles("show-filters", "filters");
  at("items").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    closeList();
    pick(Number(button.dataset.number));
  });
  at("back").addEventListener("click", () => turnPage(-1));
  at("on").addEventListener("click", () => turnPage(1));
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("save").addEventListener("click", save);
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", show);
  show();
  // For those who measure: how long it took until the first view stood.
  document.documentElement.dataset.ready = Math.round(performance.now());
}, unreadable);
