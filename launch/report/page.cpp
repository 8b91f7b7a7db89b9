#include "launch/report/page.h"

#include "launch/report/svg.h"

namespace tsugi {
namespace {

// Okabe and Ito's colours, darker on white and lighter on black than printed so that thin lines keep their contrast.
constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--grid:#e4e7eb;--panel:#f6f8fa;--muted:#9aa1a9;
--s0:#0063a3;--s1:#c25400;--s2:#007a5a;--s3:#a63d7e;--s4:#8a6d00;--s5:#2b8cbe;--s6:#5b4bb5;
--g0:#440154;--g1:#481f70;--g2:#443983;--g3:#3b528b;--g4:#31688e;--g5:#287c8e;--g6:#21918c;--g7:#20a486;--g8:#35b779;
--g9:#5ec962}
@media (prefers-color-scheme:dark){:root{--paper:#12161b;--ink:#e7ebef;--soft:#a3adb8;--grid:#2a3139;--panel:#1a2027;
--muted:#6f7883;--s0:#5cb3ee;--s1:#f5924a;--s2:#36c796;--s3:#e08abf;--s4:#e3c64a;--s5:#8fd3f5;--s6:#a99bf0;
--g0:#7a8fe0;--g1:#5f9fd8;--g2:#45adca;--g3:#33b8b0;--g4:#3cc291;--g5:#62cc72;--g6:#8fd657;--g7:#b9dc45;--g8:#dde14b;
--g9:#fbe96a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-top:1.1rem;border-top:1px solid var(--grid)}
p{margin:.4rem 0;max-width:76ch}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:1.2rem 0}
.facts div{background:var(--panel);border:1px solid var(--grid);border-radius:8px;padding:10px 14px}
.facts b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.facts span{color:var(--soft);font-size:.85rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:20px}
.warning{background:var(--panel);border-left:4px solid var(--s1);padding:10px 14px;border-radius:0 8px 8px 0}
.wide{grid-column:1/-1}
.pairs{display:grid;gap:12px;min-width:860px}
.corner{justify-self:end;font-size:.92em}
figure{margin:0;background:var(--panel);border:1px solid var(--grid);border-radius:10px;padding:14px 14px 10px;min-width:0}
figcaption{font-size:.88rem;color:var(--soft);padding:4px 6px 2px}
figcaption b{color:var(--ink)}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg text{fill:var(--ink)}
svg .tick{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .axis{font-size:13px}
svg .label{font-size:12px;font-weight:600;paint-order:stroke;stroke:var(--panel);stroke-width:3px}
@media (max-width:700px){figure svg{min-width:540px}.pairs svg{min-width:0}}
.grid{stroke:var(--grid);stroke-width:1;fill:none}
.line,.bar{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.bar{stroke-width:1.7}
.dashed{stroke-dasharray:6 4}
.band{fill:var(--c);opacity:.16;stroke:none}
.point{fill:var(--c);stroke:var(--panel);stroke-width:1.2}
.cloud{fill:none;stroke:var(--c);stroke-width:3.2;stroke-linecap:round;opacity:.5}
.cell rect{fill:var(--c);stroke:var(--panel);stroke-width:1}
.cell.best rect{stroke:var(--ink);stroke-width:2.5}
svg text.inside{font-size:11px;fill:#fff;stroke:#000b;stroke-width:2.6px;paint-order:stroke;pointer-events:none}
.ring{fill:none;stroke:var(--c);stroke-width:1.6}
.s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}.s5{--c:var(--s5)}
.s6{--c:var(--s6)}.g0{--c:var(--g0)}.g1{--c:var(--g1)}.g2{--c:var(--g2)}.g3{--c:var(--g3)}.g4{--c:var(--g4)}.g5{--c:var(--g5)}
.g6{--c:var(--g6)}.g7{--c:var(--g7)}.g8{--c:var(--g8)}.g9{--c:var(--g9)}.muted{--c:var(--muted)}.ink{--c:var(--ink)}
svg text.label{fill:var(--c)}
svg text.label.muted{fill:var(--soft)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;margin:4px 6px;padding:0;font-size:.84rem}
.legend i{display:inline-block;width:20px;border-top:3px solid var(--c);vertical-align:middle;margin-right:7px}
.legend i.dashed{border-top-style:dashed}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;margin:.5rem 0 1rem}
th,td{padding:4px 12px 4px 0;text-align:left;border-bottom:1px solid var(--grid);white-space:nowrap}
td:not(.number){white-space:normal;min-width:6ch}
th{color:var(--soft);font-weight:600}
.number{text-align:right}
ul.notes{padding-left:1.2rem;max-width:90ch}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--grid:#ddd;--panel:#fff;--muted:#999;
--s0:#0063a3;--s1:#c25400;--s2:#007a5a;--s3:#a63d7e;--s4:#8a6d00;--s5:#2b8cbe;--s6:#5b4bb5;
--g0:#440154;--g1:#481f70;--g2:#443983;--g3:#3b528b;--g4:#31688e;--g5:#287c8e;--g6:#21918c;--g7:#20a486;--g8:#35b779;
--g9:#5ec962}
section{break-inside:auto}figure,tr{break-inside:avoid}.scroll{overflow:visible}figure svg{min-width:0}
table{font-size:6.5pt}th,td{white-space:normal;padding-right:5px;overflow-wrap:anywhere}
.number{overflow-wrap:normal}.figures{grid-template-columns:1fr 1fr}h2{break-after:avoid}}
)";

}  // namespace

std::string figure(const std::string& svg, const std::string& caption) {
  return "<figure>\n" + svg + "<figcaption>" + caption + "</figcaption>\n</figure>\n";
}

std::string page(const std::string& title, const std::string& summary, const std::vector<ReportSection>& sections) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>" +
      escape_markup(title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<main>\n<h1>" +
      escape_markup(title) + "</h1>\n" + summary;
  for (const ReportSection& section : sections) {
    out += "<section>\n<h2>" + escape_markup(section.title) + "</h2>\n" + section.html + "</section>\n";
  }
  return out +
         "<footer>Every number is also in the CSV files beside this page. Hover over a mark for its values."
         "</footer>\n</main>\n</body>\n</html>\n";
}

}  // namespace tsugi
