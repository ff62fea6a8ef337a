"""``tandem bundle``: hand a bundle on to other programs."""

from __future__ import annotations

from pathlib import Path

from bids_app.cli.parser import Parser


def bundle(argv: list[str]) -> int:
    """Write a bundle as a MONAI bundle, and as ONNX."""
    parser = Parser(prog="tandem bundle", description="Hand a bundle on to other programs.", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write a MONAI bundle", allow_abbrev=False)
    export.add_argument("bundle", metavar="DIR", help="folder of a bundle, or the name of one that ships")
    export.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    export.add_argument("--onnx", action="store_true", help="with models/model.onnx; needs the extra onnx")
    options = parser.parse_args(argv)
    from bids_app.learning.bundle import load_bundle
    from bids_app.learning.monai_export import export_monai

    print(f"tandem: wrote {export_monai(load_bundle(options.bundle), options.out, onnx=options.onnx)}")
    return 0
