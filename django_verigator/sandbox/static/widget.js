"use strict";

// The last step goes back to the site by itself. Without this script its button does.
document.getElementById("return")?.requestSubmit();
