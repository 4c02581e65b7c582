from harness.report.figures.slices import SlicePoint, draw_slice, parameter_slices
from harness.report.figures.style import ObjectiveLabel
from harness.report.tables.study_tables import StudyTables

LOSS = ObjectiveLabel("val/dice_loss", minimized=True)


def test_a_slice_holds_complete_and_pruned_trials_apart(tables: StudyTables) -> None:
    slices = {piece.axis.key: piece for piece in parameter_slices(tables)}
    assert list(slices) == list(tables.parameters)
    depth = slices["model.encoder_depth"]
    assert [point.number for point in depth.complete] == [0, 1, 3, 4, 6]
    assert depth.pruned == (SlicePoint(2, 3, 0.89), SlicePoint(7, 5, 0.92))
    attention = slices["model.options.decoder_attention_type"]
    assert [point.x for point in attention.complete] == [None, "scse", None]
    assert attention.pruned == ()


def test_drawing_uses_the_scale_of_the_parameter(tables: StudyTables) -> None:
    figures = {piece.axis.key: draw_slice(piece, LOSS) for piece in parameter_slices(tables)}
    rate = figures["optim.lr"]
    assert rate.layout.xaxis.type == "log" and rate.layout.xaxis.title.text == "optim.lr"
    assert rate.layout.yaxis.title.text == LOSS.title
    arch = figures["model.arch"]
    assert tuple(arch.layout.xaxis.ticktext) == ("Unet", "Linknet", "FPN")
    assert {trace.name: tuple(trace.x) for trace in arch.data} == {
        "pruned": (2, 1),
        "complete": (0, 1, 0, 1, 0),
    }
    assert figures["model.encoder_depth"].layout.xaxis.dtick == 1
