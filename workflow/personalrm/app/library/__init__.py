"""The interface that users of the published `synthesizeme` package know, on this library's own parts.

`SynthesizeMe` and `DefaultJudge` are exported by `personalrm`, data sets by `personalrm.datasets`. They call the
functions that the workflow's stages call, with the settings that a config of the same values gives.
"""
