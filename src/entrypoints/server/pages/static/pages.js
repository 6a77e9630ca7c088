// What all pages do beyond HTML. Each module does nothing where its elements are missing.
import { watchRegions } from "./live.js";
import { followLog } from "./log.js";
import { showTimes } from "./times.js";
import { checkForms } from "./forms.js";
import { closeMenus } from "./menus.js";
import { chooseAll } from "./choosing.js";
import { savedViews } from "./views.js";

showTimes();
watchRegions();
followLog();
checkForms();
closeMenus();
chooseAll();
savedViews();
