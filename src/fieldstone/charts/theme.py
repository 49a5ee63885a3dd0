"""Colours and type of charts and pages: CSS variables with a light and a dark set, after Okabe and Ito (2008)."""

from __future__ import annotations

SERIES_COLOURS = 7
DASHES = ("", "7 4", "2 3", "10 3 2 3", "5 2", "1 3", "12 4")

_LIGHT = (
    "--fs-ink:#1c2321;--fs-soft:#5d645f;--fs-line:#d9d6cc;--fs-grid:#e8e5dc;--fs-paper:#fbfaf7;--fs-card:#fff;"
    "--fs-stone:#3f6353;--fs-1:#0068a8;--fs-2:#c75000;--fs-3:#00805e;--fs-4:#9b4f83;--fs-5:#a87900;--fs-6:#3c8fbf;"
    "--fs-7:#4a4a4a;--fs-heat:#0068a8;--fs-good:#1d7446;--fs-mid:#8a5c00;--fs-bad:#b3261e;--fs-none:#6b716c;"
    "--fs-good-bg:#dff0e5;--fs-mid-bg:#f8ecd0;--fs-bad-bg:#f9dfdc;--fs-none-bg:#ebe9e2;--fs-on:#fff"
)
_DARK = (
    "--fs-ink:#e6e4dc;--fs-soft:#a3aaa5;--fs-line:#3a403d;--fs-grid:#2b302e;--fs-paper:#171a19;--fs-card:#1f2422;"
    "--fs-stone:#8fb5a3;--fs-1:#56b4e9;--fs-2:#f08c4a;--fs-3:#3fc79a;--fs-4:#d99cc4;--fs-5:#e6c34a;--fs-6:#9ad1f2;"
    "--fs-7:#c9c9c9;--fs-heat:#56b4e9;--fs-good:#6cc58c;--fs-mid:#e0b04a;--fs-bad:#ef8078;--fs-none:#a3aaa5;"
    "--fs-good-bg:#1d3326;--fs-mid-bg:#3a2f14;--fs-bad-bg:#402320;--fs-none-bg:#2b302e;--fs-on:#111"
)

VARIABLES = (
    f":root{{color-scheme:light dark;{_LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    # paper is light, whatever the screen was
    f"@media print{{:root{{color-scheme:light;{_LIGHT}}}}}"
)

CHART_CSS = (
    "svg.fs{display:block;width:100%;height:auto;font:12px system-ui,'Segoe UI',Roboto,'Liberation Sans',sans-serif}"
    "svg.fs text{fill:var(--fs-ink)}svg.fs .t{fill:var(--fs-soft);font-size:12px}svg.fs .b{font-weight:600}"
    "svg.fs .s{fill:var(--fs-soft);font-size:11px}svg.fs .on{fill:var(--fs-on)}"
    "svg.fs .grid{stroke:var(--fs-grid);stroke-width:1}svg.fs .axis{stroke:var(--fs-soft);stroke-width:1}"
    "svg.fs .hit{fill:transparent}svg.fs .hit:hover{fill:var(--fs-ink);fill-opacity:.07}"
    "svg.fs .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    "svg.fs .mark{stroke:var(--fs-soft);stroke-width:1;stroke-dasharray:4 3}"
    "svg.fs .under{stroke:var(--fs-card);stroke-width:3}"
    "svg.fs .frame{fill:none;stroke:var(--fs-line)}svg.fs .hatch{stroke:var(--fs-soft);stroke-width:1;opacity:.6}"
    "svg.fs .heat{fill:var(--fs-heat)}svg.fs .halo{paint-order:stroke;stroke:var(--fs-card);stroke-width:3px}"
    + "".join(
        f"svg.fs .f{n}{{fill:var(--fs-{n})}}svg.fs .k{n}{{stroke:var(--fs-{n})}}" for n in range(1, SERIES_COLOURS + 1)
    )
    + "".join(
        f"svg.fs .{tone}{{fill:var(--fs-{tone})}}svg.fs .{tone}-bg{{fill:var(--fs-{tone}-bg)}}"
        for tone in ("good", "mid", "bad", "none")
    )
    + "svg.fs .ink{fill:var(--fs-ink)}svg.fs .card{fill:var(--fs-card)}"
)

PAGE_CSS = (
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}"
    "body{margin:0;background:var(--fs-paper);color:var(--fs-ink);font:15px/1.55 system-ui,'Segoe UI',Roboto,'Liberation Sans',sans-serif}"
    "main{max-width:960px;margin:0 auto;padding:1.5rem 1.2rem 3rem}"
    "h1{font-size:1.7rem;line-height:1.2;margin:.4rem 0}h2{font-size:1.22rem;margin:2.4rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--fs-line)}"
    "h3{font-size:1.02rem;margin:1.5rem 0 .3rem}p{margin:.5rem 0}p,li,td,dd{overflow-wrap:break-word}"
    ".lead{color:var(--fs-soft);margin:0 0 1rem}a{color:var(--fs-stone)}ul{padding-left:1.2rem;margin:.4rem 0}li{margin:.2rem 0}"
    "nav{font-size:.9rem;margin:1rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem}"
    "figure{margin:1rem 0 1.4rem;background:var(--fs-card);border:1px solid var(--fs-line);border-radius:8px;padding:.8rem 1rem}"
    "figure h3{margin:.1rem 0 .5rem}figcaption{color:var(--fs-soft);font-size:.88rem;margin-top:.5rem}"
    ".chart{overflow-x:auto}.chart svg{min-width:540px}"
    "details{margin-top:.5rem;font-size:.9rem}summary{cursor:pointer;color:var(--fs-stone)}"
    ".scroll{position:relative;overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;width:100%;font-size:.92rem}"
    "caption{text-align:left;color:var(--fs-soft);font-size:.88rem;padding:.2rem 0;caption-side:bottom}"
    "th{text-align:left;color:var(--fs-soft);font-weight:550;border-bottom:1px solid var(--fs-line);padding:.35rem .8rem .35rem 0;vertical-align:bottom}"
    "td{border-bottom:1px solid var(--fs-line);padding:.4rem .8rem .4rem 0;vertical-align:top}"
    "th:last-child,td:last-child{padding-right:0}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td small{color:var(--fs-soft);display:block}td svg.fs{min-width:130px;max-width:220px}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:.7rem;margin:1rem 0}"
    ".tiles div{background:var(--fs-card);border:1px solid var(--fs-line);border-radius:8px;padding:.6rem .8rem}"
    ".tiles b{display:block;white-space:nowrap;font-size:1.25rem;font-weight:620;line-height:1.25}.tiles small{display:block;color:var(--fs-soft)}"
    ".pill{display:inline-block;border-radius:1em;padding:0 .65em;font-weight:600;font-size:.88em;white-space:nowrap}"
    ".note{border-left:4px solid var(--fs-soft);background:var(--fs-card);padding:.5rem .9rem;margin:.8rem 0;border-radius:0 6px 6px 0}"
    + "".join(
        f".pill.{tone},.note.{tone}{{background:var(--fs-{tone}-bg)}}.pill.{tone},.tiles .{tone}{{color:var(--fs-{tone})}}.note.{tone}{{border-color:var(--fs-{tone})}}"
        for tone in ("good", "mid", "bad", "none")
    )
    + "dl{display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;gap:.15rem 1.2rem;margin:.6rem 0}dt{color:var(--fs-soft)}dd{margin:0}"
    ".nb{white-space:nowrap}code{font:.88em ui-monospace,'Liberation Mono',Menlo,monospace;overflow-wrap:anywhere}"
    "footer{color:var(--fs-soft);border-top:1px solid var(--fs-line);margin-top:2.5rem;padding-top:.8rem;font-size:.85rem}"
    "@media (max-width:640px){main{padding:1rem .8rem 2rem}h1{font-size:1.4rem}figure{padding:.6rem}dl{grid-template-columns:1fr}dt{margin-top:.4rem}"
    "table.stack thead{position:absolute;clip-path:inset(50%)}table.stack,table.stack tbody,table.stack caption{display:block}"
    "table.stack tr{display:block;border-bottom:1px solid var(--fs-line);padding:.5rem 0}"
    "table.stack td{display:block;border:0;padding:.1rem 0;text-align:left;white-space:normal}"
    "table.stack td[data-name]::before{content:attr(data-name) ': ';color:var(--fs-soft);font-size:.88em}"
    "table.stack td:empty,table.stack td.dash{display:none}}"
    "@media print{body{font-size:10.5pt}main{max-width:none;padding:0}nav,summary{display:none}figure,tr,.tiles div,.note{break-inside:avoid}"
    "h2,h3{break-after:avoid}.chart{overflow:visible}.chart svg{min-width:0}a{color:inherit;text-decoration:none}}"
)
