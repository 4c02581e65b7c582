// Material gives its search the role of a dialog, but no name that a screen reader could say.
document.querySelector(".md-search").setAttribute("aria-label", "Search");

// Browsers may break a line after each hyphen of --study.
for (const code of document.querySelectorAll(".md-typeset :not(pre) > code")) {
  code.innerHTML = code.innerHTML.replace(/--[a-z][a-z-]*/g, '<span class="option">$&</span>');
}
