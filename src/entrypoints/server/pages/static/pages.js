// What all pages do beyond HTML. Each module does nothing where its elements are missing.
import { showAgain, watchRegions } from "./live.js";
import { followLog } from "./log.js";
import { showTimes, tellZone } from "./times.js";
import { checkForms } from "./forms.js";
import { typeInstants } from "./instants.js";
import { closeMenus } from "./menus.js";
import { chooseAll } from "./choosing.js";
import { showFirstTask } from "./graph.js";
import { zoomTimeline } from "./zoom.js";
import { savedViews } from "./views.js";

// The answer to a form takes the place of the page that the form was on: it follows changes there, and can be reloaded.
const address = document.querySelector("main[data-address]")?.dataset.address;
if (address) history.replaceState(history.state, "", address);

document.documentElement.classList.add("scripts"); // shows what only works with them
showTimes();
watchRegions();
if (tellZone()) showAgain("[data-days-of]");
followLog();
checkForms();
typeInstants();
closeMenus();
chooseAll();
savedViews();
zoomTimeline();
showFirstTask();
