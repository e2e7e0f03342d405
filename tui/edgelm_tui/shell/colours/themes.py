"""The app's colours: dark, light, high contrast, and the terminal's own sixteen."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="edgelm-dark",
    primary="#5FAFD7",
    secondary="#87D7AF",
    accent="#FFB454",
    warning="#E6B450",
    error="#F07178",
    success="#87D787",
    foreground="#D9DEE5",
    background="#11151C",
    surface="#161B24",
    panel="#202735",
    variables={
        "border-blurred": "#3A4456",
        "text-muted": "#A3ABB8",
        "foreground-muted": "#A3ABB8",
        "footer-key-foreground": "#5FAFD7",
    },
)
LIGHT = Theme(
    name="edgelm-light",
    primary="#005F9E",
    secondary="#1B7A4B",
    accent="#A85A00",
    warning="#8F5E00",
    error="#B3261E",
    success="#1B7A4B",
    foreground="#1C2127",
    background="#FAFAF7",
    surface="#F1F1EC",
    panel="#E4E4DD",
    dark=False,
    variables={
        "border-blurred": "#B8B8AE",
        "text-muted": "#50565E",
        "foreground-muted": "#50565E",
        "footer-key-foreground": "#005F9E",
    },
)
HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#00FFFF",
    secondary="#00FF00",
    accent="#FFFF00",
    warning="#FFFF00",
    error="#FF6060",
    success="#00FF00",
    foreground="#FFFFFF",
    background="#000000",
    surface="#000000",
    panel="#1A1A1A",
    text_alpha=1.0,
    variables={
        "border-blurred": "#FFFFFF",
        "text-muted": "#FFFFFF",
        "foreground-muted": "#FFFFFF",
        "text-disabled": "#D0D0D0",
        "block-cursor-background": "#FFFF00",
        "block-cursor-foreground": "#000000",
        "footer-key-foreground": "#FFFF00",
    },
)
ANSI = replace(BUILTIN_THEMES["ansi-dark"], name="ansi")
"""No colour of our own: a terminal with sixteen shows what its user chose."""

THEMES = (DARK, LIGHT, HIGH_CONTRAST, ANSI)
