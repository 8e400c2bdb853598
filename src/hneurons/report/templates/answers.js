(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("answers-data").textContent);
  const form = document.querySelector("form.filters"), list = find("answers-list"), more = find("answers-more");
  const known = new Map(data.rows.map((row) => [row.i, row]));
  const page = 20;
  let shown = page;

  const add = (parent, tag, text, name) => {
    const element = parent.appendChild(document.createElement(tag));
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const chosen = (name) => (form.elements[name] ? form.elements[name].value : "");
  const calls = (row) => (row.o === null ? "none" : row.o > data.threshold ? "up" : "pass");
  const mistaken = (row) => row.o !== null && (row.v === "incorrect") !== (row.o > data.threshold);

  function select() {
    const words = chosen("words").toLowerCase(), neuron = chosen("neuron"), called = chosen("called");
    const from = neuron ? data.neurons[neuron].map(([id]) => known.get(id)).filter(Boolean) : data.rows;
    const rows = from.filter((row) =>
      (!words || (row.q + "\n" + row.t).toLowerCase().includes(words)) &&
      (!chosen("set") || row.d === chosen("set")) &&
      (!chosen("verdict") || row.v === chosen("verdict")) &&
      (!called || (called === "mistake" ? mistaken(row) : calls(row) === called)));
    if (neuron) return rows;
    const order = chosen("order"), side = order === "low" ? 1 : -1;
    return rows.slice().sort((a, b) =>
      order === "text" ? a.q.localeCompare(b.q) : (a.o === null) - (b.o === null) || side * (a.o - b.o));
  }

  function card(row, signal) {
    const box = add(list, "div", "", "card");
    add(box, "p", row.q);
    const answer = add(box, "p", "→ "), [begin, end] = row.s || [0, 0];
    answer.append(row.t.slice(0, begin));
    if (end > begin) add(answer, "mark", row.t.slice(begin, end));
    answer.append(row.t.slice(end));
    const said = row.o === null ? "not judged by the detector" : `log odds ${row.o > 0 ? "+" : ""}${row.o.toFixed(2)}`;
    const reason = row.r ? ` (${row.r})` : "", strength = signal === undefined ? "" : `; signal ${signal}`;
    add(box, "p", `${row.v}${reason}; ${said}${mistaken(row) ? ", a mistake" : ""}; ${row.d}${strength}`, "meta");
  }

  function draw() {
    const rows = select(), neuron = chosen("neuron");
    const signals = new Map(neuron ? data.neurons[neuron] : []);
    list.replaceChildren();
    rows.slice(0, shown).forEach((row) => card(row, signals.get(row.i)));
    find("answers-shown").textContent =
      `${Math.min(shown, rows.length)} of ${rows.length} answers shown, of ${data.rows.length} in the page`;
    more.hidden = rows.length <= shown;
  }

  const restart = () => { shown = page; draw(); };
  form.addEventListener("input", restart);
  more.addEventListener("click", () => { shown += 5 * page; draw(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-neuron]");
    if (!link) return;
    form.reset();
    form.elements.neuron.value = link.dataset.neuron;
    restart();
  });
  draw();
})();
