(function () {
  var root = document.documentElement;
  document.querySelectorAll("[data-outlines]").forEach(function (box) {
    box.addEventListener("change", function () { root.classList.toggle("no-outlines", !box.checked);
      document.querySelectorAll("[data-outlines]").forEach(function (b) { b.checked = box.checked; }); });
  });
  document.addEventListener("click", function (event) {
    var panel = event.target.closest && event.target.closest(".panel");
    var open = document.querySelector(".panel.big");
    if (open) { open.classList.remove("big"); return; }
    if (panel) { panel.classList.add("big"); }
  });
  document.addEventListener("keydown", function (event) {
    var open = document.querySelector(".panel.big");
    if (open && event.key === "Escape") { open.classList.remove("big"); }
    if (event.key === "o" && !event.ctrlKey && !event.metaKey) { root.classList.toggle("no-outlines"); }
  });
})();
