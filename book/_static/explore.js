// The page Explore: draws the records of downloads/explore.js with Observable Plot, in the reader's choice.
(() => {
  const data = window.vlmnbExplore;
  const root = document.getElementById("vlmnb-explore");
  if (!data || !root) return;
  const { quantities, kinds, datasets, points, pages = {}, about = {} } = data;
  const form = root.querySelector("form");
  const kept = window.vlmnbKept;
  const place = (name) => root.querySelector(`[data-${name}]`);
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  points.forEach((point, number) => { point.number = number; });

  // Numbers and their text.
  const PREFIXES = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1], ["m", 1e-3], ["µ", 1e-6], ["n", 1e-9]];
  // Halves are rounded to the even digit, as on the pages, which Python writes.
  const fixed = (value, digits) => {
    const made = value.toFixed(digits);
    const exact = value.toFixed(Math.min(digits + 60, 100));
    const half = /^50*$/.test(exact.slice(exact.length - 60));
    return half && /[13579]$/.test(made) ? exact.slice(0, exact.length - 60).replace(/\.$/, "") : made;
  };
  const plain = (value) => {
    if (value === 0) return "0";
    const digits = Math.max(2 - Math.floor(Math.log10(Math.abs(value))), 0);
    return fixed(value, Math.min(digits, 12));
  };
  // A ratio in digits that show on which side of 1 it lies.
  const ofRatio = (value) => {
    let made = plain(value);
    for (let digits = 3; Number(made) === 1 && value !== 1 && digits < 9; digits += 1) made = fixed(value, digits);
    return made;
  };
  const text = (value, unit, digits = plain) => {
    if (unit === "$") return `$${digits(value)}`;
    if (!["s", "J", "B", "FLOP", "g", "Wh"].includes(unit) || value === 0) return `${digits(value)}\u00a0${unit}`.trim();
    const [prefix, factor] = PREFIXES.find(([, size]) => Math.abs(value) >= size * 0.9995) ?? PREFIXES.at(-1);
    return `${digits(value / factor)}\u00a0${prefix}${unit}`;
  };
  // A limit with more digits where three are another number.
  const inFull = (value) => (Number(plain(value)) === Number(value.toPrecision(6)) ? plain(value) : String(Number(value.toPrecision(6))));

  // The number of a text such as 0.5, 500 ms, 1,000 ms, ≤ 24 GiB, 24 gb, 0.2 Wh, 80 % or $2; null where it is none.
  // Bytes without a unit are GB.
  const BYTES = [["Ki", 2 ** 10], ["Mi", 2 ** 20], ["Gi", 2 ** 30]];
  const IN_USE = { s: ([, factor]) => factor <= 1, B: ([, factor]) => factor >= 1 }; // so that capitals do not matter
  const read = (typed, unit) => {
    const [, number, rest] = typed.replace("$", "").trim().replace(/^[≤≥<>=]+\s*/, "")
      .match(/^(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+)\s*(\S*)$/i) ?? [];
    const own = { J: [["Wh", 3600], ["kWh", 3.6e6]], "": [["%", 0.01]], B: [["", 1e9]], $: [["USD", 1]] }[unit] ?? [];
    const prefixes = PREFIXES.filter(IN_USE[unit] ?? (() => true));
    const known = [...prefixes, ...(unit === "B" ? BYTES : [])].map(([name, factor]) => [`${name}${unit}`, factor]);
    const bare = unit === "" || unit === "$" ? [] : prefixes;
    const all = [...own, ["", 1], ...known, ...bare];
    const given = (rest ?? "").replace("u", "µ");
    const alike = all.filter(([name]) => name.toLowerCase() === given.toLowerCase());
    const factor = (alike.find(([name]) => name === given) ?? alike.find(([name]) => name[0] === given[0]) ?? alike[0])?.[1];
    return number && factor ? Number(number.replaceAll(",", "")) * factor : null;
  };

  // A quantity of a point as [value, low, high] or [value]; undefined where it has none.
  const PER_KWH = 1 / 3.6e6;
  const scaled = (found, factor) => found?.map((value) => value * factor);
  const rule = window.vlmnbPrices;
  const price = (name) => rule.of(form.elements[name]); // NaN where it is none
  const ownPrice = (name) => !Number.isNaN(price(name)) && price(name) !== data.prices[name].value;
  const rent = () => price("hire") / 36 / (price("use") || NaN); // $ per second
  const perJoule = () => PER_KWH * price("tariff");
  const derived = {
    wh_1000: (own) => scaled(own.j_image, 1 / 3.6),
    g_1000: (own) => scaled(own.j_image, 1000 * PER_KWH * price("grid")),
    usd_1000: (own) => (own.j_image || !price("tariff")) && own.s_image?.map((seconds) =>
      1000 * (seconds * rent() + (price("tariff") && own.j_image[0] * perJoule()))),
    g_right: (own) => right(derived.g_1000(own), own.accuracy),
    usd_right: (own) => right(derived.usd_1000(own), own.accuracy),
  };
  const right = (cost, share) => {
    if (!cost || !share || !share[0]) return undefined;
    const [low, high] = [cost[1] ?? cost[0], cost[2] ?? cost[0]];
    return share.length > 2 && share[1] > 0
      ? [cost[0] / share[0], low / share[2], high / share[1]] : [cost[0] / share[0]];
  };
  const value = (point, name) => {
    const found = derived[name] ? derived[name](point.values) : point.values[name];
    return found && found.every(Number.isFinite) && (!quantities[name].log || found[0] > 0) ? found : undefined;
  };
  const ofEnergy = (name) => ["j_image", "wh_1000", "usd_1000", "usd_right", "g_1000", "g_right"].includes(name);
  const COSTS = ["usd_1000", "usd_right"];
  const PER_IMAGE = { // what the seconds per image of a page make of a quantity
    s_image: (seconds) => seconds, s_batch: (seconds, size) => seconds * size, images_s: (seconds) => 1 / seconds,
  };
  const OWN = "of its own window";
  const ofOwn = (name, found) => (name in PER_IMAGE || ["ttft", "tpot"].includes(name)) && found.some((point) => !kinds[point.kind].reported);
  const inTurns = (point, name) => (name in PER_IMAGE ? pages[point.key] ?? [] : []).filter(([, , seconds]) => seconds)
    .map(([page, href, seconds]) => [page, href, text(PER_IMAGE[name](seconds, point.size[0]), quantities[name].unit)]);
  const noPrice = (name) => quantities[name].price
    && (COSTS.includes(name) ? ["hire", "use", "tariff"] : ["grid"]).some((each) => Number.isNaN(price(each)));
  const lacks = (point, name) => (!point.values.s_image && point.reason) || (noPrice(name) && "a price is not valid") || (COSTS.includes(name) && price("tariff") && point.no_joules
    ? `no joules (${point.no_joules})` : `no ${quantities[name].title.toLowerCase()}`);
  const disputed = (point, name) => quantities[name].of?.some((figure) => point.disputed?.includes(figure));
  const shown = (point, name) => {
    const found = value(point, name);
    if (!found) return "-";
    const { unit } = quantities[name];
    const ends = found.length > 2 ? ` [${text(found[1], unit)}, ${text(found[2], unit)}]` : "";
    return `${ofEnergy(name) && point.modelled ? "≈\u00a0" : ""}${text(found[0], unit)}${ends}${disputed(point, name) ? " ⚠" : ""}`;
  };
  // The same for a table, which is saved with plain numbers in one unit.
  const field = (point, name) => {
    const found = value(point, name);
    if (!found) return "-";
    const [middle, ends] = shown(point, name).split(" [");
    const digits = (each) => String(Number(each.toPrecision(6)));
    const number = make("span", { textContent: middle });
    const marks = [/^≈/.test(middle) ? "≈ " : "", disputed(point, name) ? " ⚠" : ""];
    number.dataset.csv = marks.join(digits(found[0]));
    number.dataset.sort = found[0];
    const made = make("span", {}, number);
    if (ends) {
      const interval = make("span", { className: "interval", textContent: `[${ends}` });
      interval.dataset.csv = found.slice(1).map(digits).join(" ");
      made.append(" ", interval);
    }
    return made;
  };
  const heading = (words, name) => {
    const made = make("span", { textContent: words });
    made.dataset.csv = [words, quantities[name].unit].filter(Boolean).join(", ");
    return made;
  };
  const named = (point) => {
    const [batch, image, prompt] = point.size;
    const marks = `${point.busy ? " †" : ""}${point.degenerate ? " ∅" : ""}`;
    return `${point.title}, ${point.setting}, batch ${batch}, ${image} px, prompt ${prompt}${marks}`;
  };

  // Whether two points differ: the few lines of vlmnb/analysis/ratios.py, which a test holds equal to them.
  const ratio = ([oneMedian, one, oneLow, oneHigh], [otherMedian, other, otherLow, otherHigh], floor) => {
    const [of, center, reach] = [otherMedian - oneMedian, other - one, Math.log1p(floor)];
    const down = Math.hypot(other - otherLow, oneHigh - one);
    const up = Math.hypot(otherHigh - other, one - oneLow);
    return [of, Math.min(center - down, of - reach), Math.max(center + up, of + reach)].map(Math.exp);
  };
  const differ = (low, high) => (low > 1 || high < 1 ? "yes" : "within");
  const STATES_NONE = { why: "the report states no spread, so this cannot be said" };
  const batches = (one, other) => (one.batches === other.batches ? `${one.batches}` : `${one.batches} and ${other.batches}`);
  const bySeconds = (one, other) => {
    const { floor } = kinds[one.kind];
    const [of, least, most, turns, ...each] = data.paired[[one.number, other.number].sort((a, b) => a - b).join(" ")] || [];
    if (floor === null) return STATES_NONE;
    if (turns < 0 || (!turns && (one.busy || other.busy))) return { why: "cannot be said: other processes used the machine (†)" };
    if (!one.spread || !other.spread) return { why: `cannot be said: too few batches (${batches(one, other)})` };
    const ends = !of ? ratio(one.spread, other.spread, floor)
      : one.number < other.number ? [of, least, most] : [1 / of, 1 / most, 1 / least];
    const seconds = turns ? (one.number < other.number ? each : each.reverse()) : null;
    return { ends, seconds, rule: turns ? `timed in turns${turns > 1 ? ` ${turns} times` : ""}` : "windows apart" };
  };
  const byJoules = (one, other) => {
    const { floor } = kinds[one.kind];
    if (floor === null) return STATES_NONE;
    if (one.busy_window || other.busy_window) return { why: "cannot be said: other processes used the machine (†)" };
    if (!one.spread || !other.spread) return { why: `cannot be said: one reading each, of too few batches (${batches(one, other)})` };
    const [low, high] = [one, other].map((point) => Array(4).fill(Math.log(point.values.j_image[0])));
    return { ends: ratio(low, high, Math.max(floor, data.apart)), rule: "one reading each, windows apart" };
  };
  // Rent follows the seconds, by the same comparison; electricity the joules. Each weighs as much as in one's cost.
  const byCost = (one, other) => {
    if (!price("tariff")) return bySeconds(one, other);
    if (!price("hire")) return byJoules(one, other);
    const [seconds, joules] = [bySeconds(one, other), byJoules(one, other)];
    if (seconds.why || joules.why) return seconds.why ? seconds : joules;
    const share = 1000 * one.values.s_image[0] * rent() / derived.usd_1000(one.values)[0];
    const ends = seconds.ends.map((end, i) => share * end + (1 - share) * joules.ends[i]);
    return { ends, seconds: seconds.seconds, rule: `${seconds.rule}; the ${plain(100 * (1 - share))} % for electricity by one reading each` };
  };
  const difference = (one, other, name = "s_image") => {
    const found = { s_image: bySeconds, j_image: byJoules, usd_1000: byCost }[name](one, other);
    return found.why ? found : { ...found, answer: differ(found.ends[1], found.ends[2]) };
  };
  const front = (found, x, y) => {
    const signs = [x, y].map((name) => (quantities[name].better === "low" ? 1 : -1));
    const at = (point) => [x, y].map((name, i) => signs[i] * value(point, name)[0]);
    return found.filter((point) => !found.some((other) => {
      const [[a, b], [c, d]] = [at(point), at(other)];
      return c <= a && d <= b && (c < a || d < b);
    }));
  };
  Object.assign(data, { difference, front, leaders: (...given) => leaders(...given), ofRatio, text, value });

  // What the reader chose, in the fields and in the address.
  const tally = (found, of) => {
    const counts = new Map();
    found.forEach((point) => counts.set(of(point), (counts.get(of(point)) ?? 0) + 1));
    return counts;
  };
  const most = (counts) => [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
  const kindOf = (point) => kinds[point.kind].title;
  const withNumbers = points.filter((point) => point.values.s_image);
  // What is chosen at first for some models: the kind and the data set with most of their records.
  const first = (titles, kindsAsked = []) => {
    const own = withNumbers.filter((point) => titles.includes(point.title));
    const usual = own.filter((point) => kinds[point.kind].usual);
    const kind = most(tally(usual.length ? usual : own, kindOf)) ?? kinds[0]?.title;
    const ofKind = points.filter((point) => titles.includes(point.title)
      && (kindsAsked.length ? kindsAsked : [kind]).includes(kindOf(point)));
    const scored = ofKind.filter((point) => value(point, "accuracy"));
    const known = scored.length ? scored : ofKind;
    const has = (name) => ofKind.some((point) => value(point, name));
    const metric = scored.length ? "accuracy" : "wer";
    return { kind: [kind], dataset: [most(tally(known, (point) => point.dataset)) ?? Object.keys(datasets)[0]],
      x: "s_image", y: scored.length ? "accuracy" : has("j_image") ? "j_image" : "peak", metric };
  };
  const CHOICES = {
    kind: ["Kind of record", kinds.map(({ title }) => [title, title])],
    dataset: ["Data set", Object.entries(datasets)],
    model: ["Model", Object.keys(data.marks).map((name) => [name, name])],
    setting: ["Setting", [...new Set(points.map((point) => point.setting))].sort().map((name) => [name, name])],
    batch: ["Batch size", [...tally(points, (point) => point.size[0]).keys()].sort((a, b) => a - b)
      .map((size) => [String(size), String(size)])],
  };
  const LIMITS = {
    quality: ["at least", () => form.elements.metric.value],
    seconds: ["at most", () => "s_image"],
    joules: ["at most", () => "j_image"],
    memory: ["at most", () => "peak"],
    price: ["at most", () => "usd_1000"],
  };
  const EXAMPLES = { s: "500 ms", J: "5 J or 0.2 Wh", B: "24 GB or 24 GiB", $: "$0.50", "": "0.8 or 80 %" };
  const quality = Object.keys(quantities).filter((name) => quantities[name].quality);
  const limits = {};
  const boxes = {};
  const options = (select, names) => names.forEach((name) =>
    select.append(make("option", { value: name, textContent: quantities[name].title })));
  const has = (name) => points.some((point) => value(point, name));
  const known = Object.keys(quantities).filter(has);
  options(form.elements.x, known);
  options(form.elements.y, known);
  options(form.elements.metric, quality.filter(has));
  for (const [name, [title, choices]] of Object.entries(CHOICES)) {
    const summary = make("summary");
    const list = make("div", { className: "choices" });
    boxes[name] = choices.map(([key, label]) => {
      const box = make("input", { type: "checkbox", name, value: key });
      list.append(make("label", {}, box, ` ${label}`));
      return box;
    });
    place("choices").append(make("details", {}, summary, list));
    boxes[name].label = () => {
      const on = boxes[name].filter((box) => box.checked);
      summary.textContent = `${title}: ${on.length === 1 ? choices.find(([key]) => key === on[0].value)[1]
        : on.length === choices.length ? "all" : `${on.length} of ${choices.length}`}`;
    };
  }
  for (const [name, [how]] of Object.entries(LIMITS)) {
    const slider = make("input", { type: "range", name: `limit-${name}`, min: 0, max: 100, step: 1 });
    const exact = make("input", { type: "text", name: `exact-${name}`, inputMode: "decimal", autocomplete: "off" });
    const caption = make("span");
    const wrong = make("span", { className: "wrong" });
    wrong.setAttribute("role", "alert");
    place("limits").append(make("div", { className: "limit" }, make("label", {}, caption, slider), exact, wrong));
    limits[name] = { slider, exact, caption, wrong, how, value: null, start: null };
  }
  const range = (name) => {
    const found = points.filter((point) => boxes.kind.some((box) => box.checked && box.value === kindOf(point)))
      .map((point) => value(point, LIMITS[name][1]())?.[0]).filter((each) => each !== undefined);
    return found.length ? [low(name) ? Math.min(...found) : Math.min(0, ...found), Math.max(...found)] : null;
  };
  const low = (name) => quantities[LIMITS[name][1]()]?.better === "low";
  const off = (name) => (low(name) ? 100 : 0);
  const toValue = (name, position) => {
    const [least, top] = range(name);
    const log = quantities[LIMITS[name][1]()].log;
    return log ? least * (top / least) ** (position / 100) : least + (top - least) * position / 100;
  };
  // What the slider sets, in four digits that leave nothing out, where these are not another position.
  const moved = (name, position) => {
    const exact = toValue(name, position);
    const step = 10 ** (Math.floor(Math.log10(exact)) - 3);
    const near = Number((step * Math[low(name) ? "ceil" : "floor"](exact / step)).toPrecision(4));
    return near > 0 && toPosition(name, near) === position ? near : exact;
  };
  const toPosition = (name, limit) => {
    const [least, top] = range(name);
    if (top === least) return off(name);
    const log = quantities[LIMITS[name][1]()].log;
    const share = log ? Math.log(limit / least) / Math.log(top / least) : (limit - least) / (top - least);
    return Math.round(100 * Math.min(Math.max(share, 0), 1));
  };
  const chosen = (name) => boxes[name].filter((box) => box.checked).map((box) => box.value);
  const listed = (name) => (key) => boxes[name].some((box) => box.value === key);
  const offered = (name) => (key) => [...form.elements[name].options].some((option) => option.value === key);
  const ANSWERED = { // whether something here answers to a name in the address
    ...Object.fromEntries(Object.keys(CHOICES).map((name) => [name, listed(name)])),
    ...Object.fromEntries(["x", "y", "metric"].map((name) => [name, offered(name)])),
    model: (key) => listed("model")(key) || points.some((point) => point.model === key),
    record: (key) => points.some((point) => point.key === key),
  };
  let unknown = []; // what the address names and this book does not have
  const fill = (wanted) => {
    const given = [...wanted].filter(([name, key]) => key && name in ANSWERED && !ANSWERED[name](key));
    unknown = [...new Set(given.map(([name, key]) => `${name} ${key}`))];
    for (const name of wanted.getAll("model")) { // the name of a model stands for its title
      points.filter((point) => point.model === name).forEach((point) => wanted.append("model", point.title));
    }
    for (const name of Object.keys(data.prices)) {
      const given = [wanted.get(name), kept.get(name)].find((text) => rule.valid(text, data.prices[name].top));
      form.elements[name].value = given ?? data.prices[name].value;
    }
    // Records in the address stand for their kind, data set, model, setting and batch size.
    for (const point of points.filter((each) => wanted.getAll("record").includes(each.key))) {
      const of = { kind: kindOf(point), dataset: point.dataset, model: point.title, setting: point.setting, batch: point.size[0] };
      Object.entries(of).forEach(([name, each]) => wanted.append(name, each));
    }
    let usually = {};
    for (const name of new Set(["model", ...Object.keys(CHOICES)])) { // what is chosen at first depends on the models
      const asked = wanted.getAll(name).filter((key) => boxes[name].some((box) => box.value === key));
      const on = asked.length || wanted.get(name) === "" ? asked : usually[name];
      boxes[name].forEach((box) => { box.checked = !on || on.includes(box.value); });
      if (["model", "kind"].includes(name)) usually = first(chosen("model"), name === "kind" ? chosen("kind") : []);
    }
    for (const name of ["x", "y", "metric"]) {
      const select = form.elements[name];
      select.value = [wanted.get(name), usually[name], select.options[0]?.value].find(offered(name)) ?? "";
    }
    for (const name of Object.keys(LIMITS)) {
      const given = parseFloat(wanted.get(name));
      limits[name].value = Number.isFinite(given) && LIMITS[name][1]() ? given : null;
    }
  };
  const address = () => {
    const state = new URLSearchParams();
    const usually = { ...first(chosen("model"), chosen("kind")), kind: first(chosen("model")).kind };
    for (const name of ["x", "y", "metric"]) {
      if (form.elements[name].value !== usually[name]) state.set(name, form.elements[name].value);
    }
    // What is drawn or limited by prices has them all, because another reader may have set others.
    const priced = axes().some((name) => quantities[name]?.price) || limits.price.value !== null;
    for (const name of Object.keys(data.prices)) {
      if (ownPrice(name) || (priced && !Number.isNaN(price(name)))) state.set(name, price(name));
    }
    for (const [name, [, choices]] of Object.entries(CHOICES)) {
      const on = chosen(name);
      const usualChoice = usually[name] ? String(on) === String(usually[name]) : on.length === choices.length;
      if (!usualChoice) (on.length ? on : [""]).forEach((key) => state.append(name, key));
    }
    for (const [name, limit] of Object.entries(limits)) {
      if (limit.value !== null) state.set(name, Number(limit.value.toPrecision(12)));
    }
    history.replaceState(null, "", `#${state}`);
  };

  // Limits: a point without the number cannot meet one. Until the reader moves it, the limit of the accuracy is half
  // the best of what is chosen; 0 is none.
  const limitOf = (name) => {
    const { value: asked, start: begin } = limits[name];
    return asked === 0 && !low(name) ? null : asked ?? begin;
  };
  const begin = (found) => {
    const known = found.map((point) => value(point, "accuracy")?.[0]).filter((each) => each !== undefined);
    const half = form.elements.metric.value === "accuracy" && Math.max(0, ...known) / 2;
    limits.quality.start = half ? Math.floor(100 * half) / 100 : null;
  };
  const missed = (point) => Object.entries(limits).flatMap(([name, { value: asked }]) => {
    const [limit, quantity] = [limitOf(name), LIMITS[name][1]()];
    if (limit === null) return [];
    const found = value(point, quantity)?.[0];
    if (found === undefined) return asked === null ? [] : [`no ${quantities[quantity].title.toLowerCase()}`];
    const sign = low(name) ? 1 : -1;
    return sign * found <= sign * limit ? [] : [quantities[quantity].title.toLowerCase()];
  });
  const unsure = (point) => Object.keys(limits).some((name) => {
    const limit = limitOf(name);
    const found = limit === null ? undefined : value(point, LIMITS[name][1]());
    return found?.length > 2 && found[1] < limit && limit < found[2];
  });
  const useless = (point) => point.degenerate || value(point, "accuracy")?.[0] === 0;

  let hovered = null;
  let selected = null;
  let drawn = [];
  const axes = () => [form.elements.x.value, form.elements.y.value];
  const link = (point, words) => make("a", { href: point.href, textContent: words });
  const detail = () => {
    place("detail").replaceChildren(...(selected ? [
      `${named(selected)} on ${datasets[selected.dataset]}: `,
      axes().map((name) => {
        const turned = inTurns(selected, name).map(([page, , seconds]) => `${seconds} (${page})`).join(", ");
        return `${quantities[name].title.toLowerCase()} ${shown(selected, name)}${turned && `, ${OWN}; in turns ${turned}`}`;
      }).join(", "),
      ". ", link(selected, "Open the record"),
      ...(pages[selected.key] ?? []).flatMap(([page, href]) => [", ", make("a", { href, textContent: page })]),
    ] : []));
  };
  // On a logarithmic axis, powers of ten have a number; 2 and 5, or all, where there is room.
  const ticked = (name, room) => {
    const { unit, log } = quantities[name];
    const found = drawn.map((point) => value(point, name)[0]);
    const decades = Math.log10(Math.max(...found) / Math.min(...found));
    return (each) => {
      const lead = Math.round(each / 10 ** Math.floor(Math.log10(each) + 1e-9));
      const between = decades < room / 350 && [2, 5].includes(lead);
      return !log || lead === 1 || between || decades < room / 1400 ? text(each, unit) : "";
    };
  };
  const axis = (name, room) => {
    const { title, log } = quantities[name];
    const modelled = (ofEnergy(name) && drawn.some((point) => point.modelled) ? ", ≈ modelled" : "")
      + (ofOwn(name, drawn) ? ", own window" : "");
    return {
      type: log ? "log" : "linear", label: `${title}${modelled}`, grid: true, nice: !log,
      ticks: 5, tickFormat: ticked(name, room), labelArrow: false,
    };
  };
  const draw = () => {
    const [x, y] = axes();
    const width = Math.max(Math.min(place("chart").clientWidth, 900), 280);
    const groups = [...tally(drawn, (point) => point.group).keys()];
    const center = (name) => (point) => value(point, name)[0];
    const end = (name, i) => (point) => value(point, name)[i];
    const ends = (name) => drawn.filter((point) => value(point, name).length > 2);
    const panel = groups.length > 1 ? { fy: "group" } : {};
    const pale = (point) => (point.missed.length ? 0.25 : 1);
    const dot = { x: center(x), y: center(y), symbol: "title", r: 5, ariaLabel: (point) => `record ${point.key}`, ...panel };
    const titles = Object.keys(data.marks);
    const line = groups.flatMap((group) => {
      const own = drawn.filter((point) => point.group === group && point.front);
      return own.sort((a, b) => value(a, x)[0] - value(b, x)[0]);
    });
    const whisker = { stroke: "title", strokeWidth: 1.5, strokeOpacity: pale, ...panel };
    const chart = Plot.plot({
      width, height: 80 + 330 * Math.max(groups.length, 1), marginLeft: 74, marginBottom: 42, marginTop: 28,
      style: { fontSize: "13px", background: "transparent", overflow: "visible" },
      inset: 12, x: axis(x, width), y: { ...axis(y, 600), labelAnchor: "center" }, fy: { label: null, axis: null, padding: 0.15, domain: groups },
      color: { domain: titles, range: titles.map((name) => data.marks[name][0]) },
      symbol: { domain: titles, range: titles.map((name) => data.marks[name][1]) },
      marks: [
        Plot.frame({ strokeOpacity: 0.3 }),
        Plot.text(groups.length > 1 ? groups : [], { fy: (d) => d, text: (d) => d, frameAnchor: "top-left", dy: -16, fontWeight: 600, lineWidth: width / 14, textOverflow: "ellipsis" }),
        Plot.line(line, { x: center(x), y: center(y), z: "group", strokeDasharray: "5 3", ...panel }),
        Plot.ruleY(ends(x), { y: center(y), x1: end(x, 1), x2: end(x, 2), ...whisker }),
        Plot.ruleX(ends(y), { x: center(x), y1: end(y, 1), y2: end(y, 2), ...whisker }),
        Plot.dot(drawn.filter((p) => !p.busy), { ...dot, fill: "title", fillOpacity: pale }),
        Plot.dot(drawn.filter((p) => p.busy), { ...dot, stroke: "title", strokeWidth: 2, strokeOpacity: pale }),
        Plot.dot(selected && drawn.includes(selected) ? [selected] : [], { ...dot, symbol: "circle", r: 10, stroke: "currentColor", strokeWidth: 2 }),
        Plot.tip(drawn, Plot.pointer({
          x: center(x), y: center(y), ...panel, lineWidth: Math.min(32, width / 12),
          title: (point) => [named(point), ...[x, y].flatMap((name) => {
            const turned = inTurns(point, name);
            return [`${quantities[name].title}: ${shown(point, name)}${turned.length ? `, ${OWN}` : ""}`,
              ...turned.map(([page, , seconds]) => `    in turns: ${seconds} (${page})`)];
          }), point.missed.length ? `Misses a limit: ${point.missed.join(", ")}` : "", `Record ${point.key}`].filter(Boolean).join("\n"),
        })),
      ],
    });
    chart.setAttribute("aria-hidden", "true"); // the table below holds the same
    chart.addEventListener("input", () => {
      hovered = chart.value;
      chart.style.cursor = hovered ? "pointer" : "";
    });
    const names = [...new Set(drawn.map((point) => point.title))];
    const key = Plot.plot({
      width, height: 26 * Math.ceil(names.length / Math.max(Math.floor(width / 190), 1)), margin: 0, axis: null,
      style: { fontSize: "13px", background: "transparent" },
      x: { domain: [0, width] }, y: { domain: [0, 26 * Math.ceil(names.length / Math.max(Math.floor(width / 190), 1))], reverse: true },
      color: { domain: titles, range: titles.map((name) => data.marks[name][0]) },
      symbol: { domain: titles, range: titles.map((name) => data.marks[name][1]) },
      marks: ["dot", "text"].map((mark) => {
        const across = Math.max(Math.floor(width / 190), 1);
        const at = { x: (d, i) => 10 + 190 * (i % across), y: (d, i) => 13 + 26 * Math.floor(i / across) };
        return mark === "dot" ? Plot.dot(names, { ...at, fill: (d) => d, symbol: (d) => d, r: 5 })
          : Plot.text(names, { ...at, text: (d) => d, textAnchor: "start", dx: 12 });
      }),
    });
    key.setAttribute("aria-hidden", "true");
    place("chart").replaceChildren(key, chart);
  };
  const cells = (tag, texts) => texts.map((each) => {
    const cell = make(tag, tag === "th" ? { scope: "col" } : {});
    cell.append(each);
    return cell;
  });
  const table = (caption, heads, rows) => make("div", { className: "vlmnb-scroll", tabIndex: 0, role: "region", ariaLabel: caption },
    make("table", { className: "vlmnb-table words" },
      make("caption", {}, make("span", { textContent: caption })),
      make("thead", {}, make("tr", {}, ...cells("th", heads))),
      make("tbody", {}, ...rows.map(([first, ...rest]) => {
        const head = make("th", { scope: "row" });
        head.append(first);
        return make("tr", {}, head, ...cells("td", rest));
      }))));
  const AIMS = { usd_1000: "Cheapest", s_image: "Fastest", j_image: "Thriftiest" };
  const aimed = (name) => `${AIMS[name]}, by ${quantities[name].title.toLowerCase()}`;
  // Of a lead over the runner-up that is real: how many others are not surely behind.
  const tied = (first, second, found, name) => {
    if (!beats(first, second, name)) return "";
    const others = found.filter((point) => point !== first && point !== second && !beats(first, point, name)).length;
    return others ? `; ${others} ${others === 1 ? "other is" : "others are"} not surely behind` : "";
  };
  const verdict = (one, other, name) => {
    const { ends, answer, rule, seconds, why } = difference(one, other, name);
    if (why) return why;
    const turned = seconds ? ` (${seconds.map((each) => text(each, "s")).join(" and ")} per image in turns)` : "";
    const times = `${ofRatio(ends[0])} times [${ofRatio(ends[1])}, ${ofRatio(ends[2])}], ${rule}${turned}`;
    const most = Math.max(ends[2], 1 / ends[1]);
    const apart = most < 2 ? `${Math.ceil(100 * (most - 1))} %` : `${(Math.ceil(10 * most) / 10).toFixed(1)} times`;
    if (answer === "yes") return `${ends[2] < 1 ? "the other way round in turns" : "real"}: ${times}`;
    const equal = Math.round(1e8 * (most - 1)) / 1e6 <= data.equal;
    return `${equal ? `equal within ${apart}` : `may be noise, at most ${apart} apart`}: ${times}`;
  };
  // The best by the values shown, unless another is really better by the comparison that decides; and its nearest rival
  // by that comparison.
  const beats = (one, other, name) => {
    const { why, answer, ends } = difference(one, other, name);
    return !why && answer === "yes" && ends[1] > 1;
  };
  const gap = (one, other, name) => {
    const { why, ends } = difference(one, other, name);
    return why ? value(other, name)[0] / value(one, name)[0] : ends[0];
  };
  const next = (one, found, name) => found.filter((other) => other !== one)
    .map((other) => [gap(one, other, name), other]).sort((a, b) => a[0] - b[0])[0] ?? [Infinity];
  const leaders = (found, name) => {
    let first = [...found].sort((a, b) => value(a, name)[0] - value(b, name)[0])[0];
    for (const _ of found) { // no longer, should three beat each other in a ring
      const [, better] = next(first, found.filter((other) => beats(other, first, name)), name);
      if (!better) break;
      first = better;
    }
    return [first, first && next(first, found, name)[1]];
  };
  const best = () => {
    const groups = Map.groupBy(filtered(), (point) => point.group);
    const made = [...groups].map(([group, own]) => {
      const known = own.filter((point) => point.values.s_image || value(point, "j_image"));
      const able = known.filter((point) => !point.missed.length && !useless(point));
      const rows = Object.keys(AIMS).map((name) => {
        const aim = aimed(name);
        const valued = able.filter((point) => value(point, name));
        const [first, second] = leaders(valued, name);
        if (!first) {
          const why = able.length ? lacks(able[0], name) : known.length ? "nothing meets the limits" : "no record has a time or joules";
          return [aim, "-", why, "-", "-", "-"];
        }
        const sure = unsure(first) ? " (its interval reaches beyond a limit)" : "";
        return [aim, link(first, named(first)), shown(first, name) + sure,
          second ? link(second, named(second)) : "-", second ? shown(second, name) : "-",
          second ? verdict(first, second, name) + tied(first, second, valued, name) : "no runner-up"];
      });
      const wrong = known.filter((point) => !point.missed.length && useless(point)).length;
      const out = wrong ? `, ${wrong} without a right answer left out` : "";
      return table(`Best of ${able.length} within the limits${out}: ${group}`,
        ["Aim", "Best", "Value", "Runner-up", "Its value", "Is the lead real?"], rows);
    });
    place("best").replaceChildren(...made);
  };
  const filtered = () => {
    const on = Object.fromEntries(Object.keys(CHOICES).map((name) => [name, new Set(chosen(name))]));
    return points.filter((point) => on.kind.has(kindOf(point)) && on.dataset.has(point.dataset)
      && on.model.has(point.title) && on.setting.has(point.setting)
      && on.batch.has(String(point.size[0])));
  };
  const links = () => {
    const models = [...new Set(filtered().map((point) => point.model))];
    const to = (href, textContent) => make("a", { href, textContent });
    const hire = ["hire", "use"].filter(ownPrice).map((name) => `&${name}=${price(name)}`).join("");
    const of = models.length > 3 ? [] : models.filter((model) => about[model]).map((model) => make("span", {},
      `${points.find((point) => point.model === model).title}: `, to(about[model][0], "its pages"),
      ...(about[model][1] ? [", ", to(`finder.html#model=${encodeURIComponent(model)}${hire}`, "GPUs that run it")] : []), ". "));
    place("links").replaceChildren(...(of.length ? of : [to(`finder.html#${hire.slice(1)}`, "Which GPU runs a model?")]));
  };
  const update = () => {
    const [x, y] = axes();
    Object.values(boxes).forEach((list) => list.label());
    Object.keys(data.prices).forEach((name) => rule.mark(form.elements[name]));
    const found = filtered();
    begin(found);
    for (const [name, limit] of Object.entries(limits)) {
      const known = range(name);
      const quantity = LIMITS[name][1]();
      limit.slider.disabled = !known;
      const now = limitOf(name);
      limit.slider.value = known && now !== null ? toPosition(name, now) : off(name);
      const said = now === null ? "no limit" : text(now, quantities[quantity].unit, inFull);
      const blind = !known && limit.value !== null && now !== null; // it holds all the same, so it can be taken away
      limit.exact.value = known || blind ? said : "not known";
      limit.exact.removeAttribute("aria-invalid");
      limit.wrong.textContent = blind ? "No record of this kind has the number, so none meets this limit. Empty the field for no limit." : "";
      limit.exact.disabled = !known && !blind;
      limit.slider.setAttribute("aria-valuetext", said);
      limit.caption.textContent = quantities[quantity]
        ? `${quantities[quantity].title} at ${low(name) ? "most" : "least"} ` : "No quality is known ";
      limit.exact.setAttribute("aria-label", `${limit.caption.textContent.trim()}, typed`);
    }
    found.forEach((point) => {
      point.group = `${datasets[point.dataset]}, ${kinds[point.kind].title}`;
      point.missed = missed(point);
      point.front = false;
    });
    drawn = found.filter((point) => value(point, x) && value(point, y)).sort((a, b) => value(a, x)[0] - value(b, x)[0]);
    const notes = unknown.length ? [`Not in this book, though the address names it: ${unknown.join("; ")}.`] : [];
    for (const own of Map.groupBy(drawn, (point) => point.group).values()) {
      if (!quantities[x].better || !quantities[y].better || x === y) continue;
      const long = [x, y].some((name) => name.startsWith("wer") && own.some((point) => value(point, name)[0] > 1));
      if (long) notes.push(`No front for ${own[0].group}: word error rates above 1 measure length.`);
      else front(own.filter((point) => !point.missed.length && !useless(point)), x, y).forEach((point) => { point.front = true; });
    }
    if (selected && !drawn.includes(selected)) selected = null;
    const groups = new Set(drawn.map((point) => point.group)).size;
    const apart = groups > 1 ? ` They are of ${groups} kinds, each with a panel of its own.` : "";
    const within = drawn.filter((point) => !point.missed.length).length;
    const unpriced = price("tariff") ? found.filter((point) => point.no_joules) : [];
    if (unpriced.length) {
      notes.push(`${unpriced.length} ${unpriced.length === 1 ? "record has" : "records have"} no joules and so no cost; set the price of electricity to 0 to count the hire alone.`);
    }
    const ofKinds = points.filter((point) => chosen("kind").includes(kindOf(point)));
    const names = (of, among = ofKinds, comma = ", ") => [...new Set(among.map(of))].join(comma);
    if (found.length && !drawn.length) {
      const both = points.filter((point) => value(point, x) && value(point, y));
      const same = both.filter((point) => ofKinds.includes(point));
      notes.push([x, y].some(noPrice) ? "A price is not valid." : !both.length ? "No record has both." : same.length
        ? `Of this kind, records on ${names((point) => datasets[point.dataset], same)} have both.`
        : `Records of other kinds have both: ${names(kindOf, both, "; ")}.`);
    }
    const models = new Set(chosen("model"));
    const elsewhere = points.filter((point) => models.has(point.title) && !ofKinds.includes(point) && point.values.s_image);
    if (models.size < boxes.model.length && elsewhere.length) {
      notes.push(`Under Kind of record there are ${elsewhere.length} more of ${models.size === 1 ? "this model" : "these models"}: ${names(kindOf, elsewhere, "; ")}.`);
    }
    place("status").textContent = !found.length
      ? ["No record fits all choices.", ofKinds.length
        ? `Of the chosen kind there are records on ${names((point) => datasets[point.dataset])}, of ${names((point) => point.title)}.`
        : "No kind of record is ticked.", ...notes].join(" ")
      : `${drawn.length} of ${found.length} chosen records have both numbers; ${within} of them meet the limits.${apart} ${notes.join(" ")}`.trim();
    draw();
    best();
    const apartIn = (point) => (groups > 1 ? [point.group] : []);
    const limited = Object.keys(limits).some((name) => limitOf(name) !== null);
    const meets = (point) => (point.missed.length ? `no: ${point.missed.join(", ")}`
      : unsure(point) ? "perhaps: its interval reaches beyond" : "yes");
    const rows = drawn.map((point) => [named(point), field(point, x), field(point, y), point.front ? "yes" : "no",
      ...(limited ? [meets(point)] : []), ...apartIn(point), link(point, point.key)]);
    const without = found.filter((point) => !drawn.includes(point)).map((point) =>
      [named(point), [...new Set([x, y].filter((name) => !value(point, name)).map((name) => lacks(point, name)))].join("; "),
        point.group, link(point, point.key)]);
    const costless = unpriced.filter((point) => drawn.includes(point)).map((point) =>
      [named(point), lacks(point, "usd_1000"), point.group, link(point, point.key)]);
    const head = (name) => heading(`${quantities[name].title}${ofOwn(name, drawn) ? `, ${OWN}` : ""}`, name);
    const absent = (rows, title) => (rows.length
      ? [[`${rows.length} ${rows.length === 1 ? "record" : "records"} ${title}`, table(`Records ${title}`, ["Configuration", "Why", "Kind", "Record"], rows)]] : []);
    const folds = [
      [`The same ${drawn.length} points as a table`, table("Points of the figure",
        ["Configuration", head(x), head(y), "On the front", ...(limited ? ["Meets the limits"] : []),
          ...(groups > 1 ? ["Kind"] : []), "Record"], rows)],
      ...absent(without, "without both numbers"), ...absent(costless, "without a cost"),
    ];
    const opened = new Set([...place("table").children].filter((each) => each.open).map((each) => each.dataset.of));
    place("table").replaceChildren(...folds.map(([title, shown]) => {
      const of = title.replace(/\d+ /, "");
      const made = make("details", { open: opened.has(of) }, make("summary", { textContent: title }), shown);
      made.dataset.of = of;
      return made;
    }));
    root.dispatchEvent(new Event("vlmnb-tables", { bubbles: true }));
    links();
    detail();
    address();
  };
  const chart = place("chart");
  let pointer = "mouse";
  chart.addEventListener("pointerdown", (event) => { pointer = event.pointerType; }, true);
  const FINGER = 30; // pixels
  const touched = ({ clientX, clientY }) => {
    const far = [...chart.querySelectorAll("[data-chart] [aria-label^='record ']")].map((mark) => {
      const { left, right, top, bottom } = mark.getBoundingClientRect();
      return [Math.hypot((left + right) / 2 - clientX, (top + bottom) / 2 - clientY), mark.getAttribute("aria-label")];
    }).sort((a, b) => a[0] - b[0])[0];
    return far && far[0] < FINGER ? drawn.find((point) => `record ${point.key}` === far[1]) : null;
  };
  chart.addEventListener("click", (event) => {
    if (pointer === "mouse") {
      if (hovered) location.assign(hovered.href);
    } else {
      selected = touched(event);
      draw();
      detail();
    }
  });
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === "Enter" && selected) location.assign(selected.href);
    if (!step || !drawn.length) return;
    event.preventDefault();
    const at = drawn.indexOf(selected);
    selected = drawn[at < 0 ? (step > 0 ? 0 : drawn.length - 1) : (at + step + drawn.length) % drawn.length];
    draw();
    detail();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target.name.startsWith("exact-")) return; // read when it is complete
    const [, name] = event.target.name.match(/^limit-(.*)/) ?? [];
    if (name) {
      const position = Number(event.target.value);
      const none = limits[name].start === null ? null : 0;
      limits[name].value = position === off(name) ? none : moved(name, position);
    }
    unknown = [];
    if (event.target.name === "metric") limits.quality.value = null;
    if (event.target.name in data.prices && !Number.isNaN(price(event.target.name))) kept.set(event.target.name, event.target.value);
    update();
  });
  form.addEventListener("change", (event) => {
    const [, name] = event.target.name.match(/^exact-(.*)/) ?? [];
    if (!name) return;
    const { unit, title, top = Infinity } = quantities[LIMITS[name][1]()];
    const typed = event.target.value.trim();
    const none = /^(no limit|none|)$/i.test(typed);
    const found = none ? (limits[name].start === null ? null : 0) : read(typed, unit);
    const why = !none && found === null ? `Not read: ${typed}.` : found > top ? `${title} is ${top} at most.` : "";
    if (why) {
      event.target.setAttribute("aria-invalid", "true");
      limits[name].wrong.textContent = `${why} Write for example ${EXAMPLES[unit]}, or nothing for no limit.`;
      return;
    }
    limits[name].value = found;
    update();
  });
  form.elements.reset.addEventListener("click", () => {
    Object.keys(data.prices).forEach((name) => kept.set(name, null));
    fill(new URLSearchParams());
    update();
  });
  const start = () => {
    fill(new URLSearchParams(location.hash.slice(1)));
    update();
  };
  addEventListener("hashchange", start);
  let width = 0;
  new ResizeObserver(() => {
    if (Math.abs(chart.clientWidth - width) < 2) return;
    width = chart.clientWidth;
    draw();
  }).observe(chart);
  start();
})();
