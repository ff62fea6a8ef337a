(function () {
  var root = document.documentElement, turning = null;
  function all(selector) { return Array.prototype.slice.call(document.querySelectorAll(selector)); }
  function outlines(shown) {
    root.classList.toggle("no-outlines", !shown);
    all("[data-outlines]").forEach(function (box) { box.checked = shown; });
  }
  function flicker(on) {
    all("[data-flicker]").forEach(function (box) { box.checked = on; });
    if (turning) { clearInterval(turning); turning = null; root.classList.remove("show-other"); }
    if (on) { turning = setInterval(function () { root.classList.toggle("show-other"); }, 600); }
  }
  all("[data-outlines]").forEach(function (box) {
    box.addEventListener("change", function () { outlines(box.checked); });
  });
  all("[data-flicker]").forEach(function (box) {
    box.addEventListener("change", function () { flicker(box.checked); });
  });
  function close() {
    var open = document.querySelector(".panel.big");
    if (open) { open.classList.remove("big"); open.setAttribute("aria-expanded", "false"); }
    return open;
  }
  function enlarge(panel) {
    if (close() !== panel) { panel.classList.add("big"); panel.setAttribute("aria-expanded", "true"); }
  }
  document.addEventListener("click", function (event) {
    var panel = event.target.closest && event.target.closest(".panel");
    if (document.querySelector(".panel.big")) { close(); return; }
    if (panel) { enlarge(panel); }
  });
  document.addEventListener("keydown", function (event) {
    var writing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.key === "Escape") { close(); }
    if (writing || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if ((event.key === "Enter" || event.key === " ") && event.target.classList.contains("panel")) {
      event.preventDefault();
      enlarge(event.target);
    }
    if (event.key === "o") { outlines(root.classList.contains("no-outlines")); }
    if (event.key === "f" && document.querySelector("[data-flicker]")) { flicker(!turning); }
  });
  all("[data-rating]").forEach(function (form) {
    form.querySelector("button").addEventListener("click", function () {
      var lines = [["participant_id", "session_id", "recipe", "rating", "comment"]];
      all("[data-recipe]").forEach(function (row) {
        var chosen = row.querySelector("input:checked"), comment = row.querySelector("input[type=text]").value;
        if (chosen) {
          lines.push([form.dataset.participant, form.dataset.session, row.dataset.recipe, chosen.value,
            comment.replace(/\s+/g, " ").trim() || "n/a"]);
        }
      });
      form.querySelector("output").textContent = lines.length > 1 ? "" : "Choose good, usable or bad first.";
      if (lines.length === 1) { return; }
      var text = lines.map(function (line) { return line.join("\t"); }).join("\n") + "\n";
      var link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
      link.download = form.dataset.key + "_rating.tsv";
      link.click();
      setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
    });
  });
})();
