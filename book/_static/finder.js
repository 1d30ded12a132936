// The page of GPUs: fills the columns "Runs it" and "Free, GB" of its table for the load that was chosen.
document.addEventListener("DOMContentLoaded", () => {
  const data = window.vlmnbFinder;
  const form = document.getElementById("vlmnb-finder");
  const table = document.querySelector("table.vlmnb-filter");
  if (!data || !form || !table) return;
  const { model, quantization, batch, context } = form.elements;
  const rows = [...table.tBodies[0].rows];
  const gigabytes = (bytes) => (bytes / 1e9).toFixed(Math.abs(bytes) < 1e7 ? 4 : 2);
  const options = (select, pairs) => select.replaceChildren(
    ...pairs.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
  options(model, Object.entries(data.models).map(([name, one]) => [name, one.title]));
  options(quantization, Object.entries(data.quantizations).map(([name, summary]) => [name, `${name}: ${summary}`]));
  options(batch, data.batches.map((size) => [size, size]));
  const contexts = () => {
    const { contexts: known, tokens } = data.models[model.value];
    const before = context.value;
    options(context, known.map((size) => [size, size ? `${size} tokens` : `prompt and answer, ${tokens} tokens`]));
    context.value = before && known.includes(Number(before)) ? before : 0;
  };
  const update = () => {
    const one = data.models[model.value];
    const at = [data.batches.indexOf(Number(batch.value)), one.contexts.indexOf(Number(context.value))];
    const needed = one.bytes[quantization.value][at[0]][at[1]];
    const never = one.obstacles[quantization.value];
    const kind = Object.keys(data.quantizations).indexOf(quantization.value);
    let running = 0;
    rows.forEach((row, i) => {
      const { usable, obstacles } = data.gpus[i];
      const free = usable - needed;
      const unsure = Math.abs(free) < data.overhead;
      const obstacle = never || obstacles[kind];
      const lacks = free >= 0 ? (unsure ? "just about" : "yes") : `${unsure ? "perhaps, " : ""}lacks ${gigabytes(-free)} GB`;
      row.cells[1].textContent = obstacle ? `no: ${obstacle.split(":")[0]}` : lacks;
      row.cells[1].title = obstacle || "memory that is free, less what is needed; computed, not measured";
      row.cells[1].className = "text";
      row.cells[2].textContent = obstacle || free < 0 ? "-" : gigabytes(free);
      row.cells[2].classList.toggle("vlmnb-missing", row.cells[2].textContent === "-");
      row.cells[2].title = obstacle || (free < 0 ? "nothing is free: it does not fit" : "computed, not measured");
      running += !obstacle && free >= 0;
    });
    document.getElementById("vlmnb-finder-answer").textContent = never
      ? `Nothing runs ${one.title} as ${quantization.value}: ${never}.`
      : `${one.title} as ${quantization.value} takes ${gigabytes(needed)} GB; ${running} of ${rows.length} GPUs have that.`;
    document.querySelector("form.vlmnb-filters")?.dispatchEvent(new Event("input"));
    const state = new URLSearchParams(new FormData(form));
    history.replaceState(null, "", `#${state}`);
  };
  const start = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const select of [model, quantization, batch, context]) {
      if (select === context) contexts();
      const valid = [...select.options].some((option) => option.value === wanted.get(select.name));
      if (valid) select.value = wanted.get(select.name);
    }
    update();
  };
  form.addEventListener("input", (event) => {
    if (event.target === model) contexts();
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", start);
  start();
});
