(function () {
  function all(selector, inside) { return Array.prototype.slice.call((inside || document).querySelectorAll(selector)); }
  function parsed(text) {
    var cleaned = text.replace(/−/g, "-").trim(), number = parseFloat(cleaned.replace(/ × 10\^/, "e"));
    return { text: cleaned.toLowerCase(), number: number, isNumber: /^[-+.\d]/.test(cleaned) && !isNaN(number) };
  }
  function sort(table, column, down) {
    var body = table.tBodies[0];
    var rows = all("tr", body).map(function (row) { return [parsed(row.cells[column].textContent), row]; });
    rows.sort(function (one, other) {
      var a = one[0], b = other[0];
      if (a.isNumber !== b.isNumber) { return a.isNumber ? -1 : 1; }
      return (a.isNumber ? a.number - b.number : a.text.localeCompare(b.text)) * (down ? -1 : 1);
    });
    rows.forEach(function (pair) { body.appendChild(pair[1]); });
  }
  all("table.sortable").forEach(function (table) {
    all("th", table).forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        all("th", table).forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, column, down);
      });
    });
    save(table.parentNode, "CSV", "text/csv", function () {
      return all("tr", table).map(function (row) {
        return all("th, td", row).map(function (cell) {
          var text = cell.textContent.trim();
          if (/^[=+@]/.test(text) || (text[0] === "-" && isNaN(Number(text)))) { text = "'" + text; }
          return '"' + text.replace(/"/g, '""') + '"';
        }).join(",");
      }).join("\r\n") + "\r\n";
    });
  });
  all(".chart svg").forEach(function (drawing) {
    save(drawing.parentNode, "SVG", "image/svg+xml", function () {
      var copy = drawing.cloneNode(true), style = document.createElementNS(drawing.namespaceURI, "style");
      style.textContent = document.querySelector("style").textContent;
      copy.setAttribute("class", "chart");
      copy.insertBefore(style, copy.firstChild);
      return new XMLSerializer().serializeToString(copy);
    });
  });
  function save(where, kind, type, text) {
    var button = document.createElement("button"), head = where.previousElementSibling;
    button.type = "button";
    button.className = "save screen";
    button.textContent = kind;
    button.setAttribute("aria-label", "Save as " + kind);
    where.insertBefore(button, where.firstChild);
    button.addEventListener("click", function () {
      var link = document.createElement("a"), caption = where.querySelector("figcaption") || head;
      link.href = URL.createObjectURL(new Blob([text()], { type: type }));
      link.download = ((caption ? caption.textContent : "table").trim().replace(/[^A-Za-z0-9]+/g, "_").slice(0, 60)) +
        "." + kind.toLowerCase();
      link.click();
      setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
    });
  }
  function quantile(sorted, share) {
    var place = share * (sorted.length - 1), below = Math.floor(place), above = Math.ceil(place);
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
  }
  var filters = all("[data-filter]");
  function shown(element) {
    return filters.every(function (filter) {
      return filter.value === "" || element.getAttribute("data-" + filter.dataset.filter) === filter.value;
    });
  }
  function redraw() {
    var asked = filters.some(function (filter) { return filter.value !== ""; });
    all("[data-row]").forEach(function (row) { row.hidden = !shown(row); });
    all("svg [data-dot]").forEach(function (dot) { dot.classList.toggle("hidden", !shown(dot)); });
    all("svg [data-column]").forEach(function (column) {
      var heights = all('[data-dot="' + column.dataset.column + '"]', column.ownerSVGElement).filter(function (dot) {
        return !dot.classList.contains("hidden");
      }).map(function (dot) { return parseFloat(dot.dataset.y); }).sort(function (a, b) { return a - b; });
      var box = column.querySelector(".box"), line = column.querySelector(".median"), n = column.querySelector(".count");
      if (!asked) { [box, line, n].forEach(restore); return; }
      [box, line].forEach(function (part) { if (part) { part.classList.toggle("hidden", heights.length === 0); } });
      if (n) { change(n, null, "n = " + heights.length); }
      if (heights.length && line) {
        var middle = quantile(heights, 0.5);
        change(line, { y1: middle, y2: middle });
      }
      if (heights.length && box) {
        var top = quantile(heights, 0.25);
        change(box, { y: top, height: quantile(heights, 0.75) - top });
      }
    });
    var told = document.querySelector("[data-filtered]");
    if (told) { told.textContent = asked ? "Distributions and sessions are filtered; tables of results are not." : ""; }
  }
  function change(part, numbers, text) {
    if (!part.kept) { part.kept = part.cloneNode(true); }
    Object.keys(numbers || {}).forEach(function (name) { part.setAttribute(name, numbers[name].toFixed(1)); });
    if (text) { part.textContent = text; }
  }
  function restore(part) {
    if (!part) { return; }
    part.classList.remove("hidden");
    if (!part.kept) { return; }
    ["y", "height", "y1", "y2"].forEach(function (name) {
      if (part.kept.hasAttribute(name)) { part.setAttribute(name, part.kept.getAttribute(name)); }
    });
    if (part.tagName === "text") { part.textContent = part.kept.textContent; }
  }
  filters.forEach(function (filter) { filter.addEventListener("change", redraw); });
  redraw();
})();
