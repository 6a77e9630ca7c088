"""Texts that people, flows and agents may put into names, parameters, log lines and artifacts, and mean no good by."""

from typing import Final

HOSTILE: Final = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)><b>'\"",
    "attributes": "\" onmouseover=\"alert(1)\" style='position:fixed' x='",
    "a script as an address": "javascript:alert(1)//",
    "a page as an address": "data:text/html,<script>alert(1)</script>",
    "markdown": "[click](javascript:alert(1)) ![x](http://evil.example/x.png) <http://evil.example>",
    "a drawing": "<svg onload=alert(1)><style>*{background:url(//evil.example)}</style><use href=data:x></svg>",
    "a style": "red;background:url(http://evil.example/x)} * {display:none} </style><style>",
    "a template": "{{ 7*7 }}{% include '/etc/passwd' %}${7*7}#{7*7}",
    "ends": "</textarea></title></pre></select></option></svg></script>--><!--[if IE]>",
    "entities": "&lt;script&gt;&#60;b&#62;&amp;amp;",
    "a terminal": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\b\b\b",
    "directions": "user\u202egnp.exe \u2066x\u2069 \u061c\u200f",
    "unseen letters": "pro\u200bd\u2060\ufeff\u00ad a\u200db \U000e0041\U000e0042",
    "line ends": "one\u2028two\u2029three\x85four\x0bfive\r\nsix",
    "a path": "../../../../etc/passwd",
    "a pattern": "%' OR 1=1 --_\\",
    "high letters": "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324" * 20,
}
"""By what each tries."""
